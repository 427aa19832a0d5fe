// Drives a browser through the dashboard: what an admin and a tenant do there from end to end, then every page, for both of them, in
// both languages, wide and narrow, light and dark. A line `say TEXT` on standard output asks for a message on Telegram; what is
// wrong goes to standard error, and the exit code says so.
'use strict';
const fs = require('fs');
const os = require('os');
const path = require('path');
const { chromium } = require('playwright-core');

const { URL: BASE, PASSWORD, TELEGRAM_TOKEN, HOSTILE, COMPONENT, BROKEN, OUT } = process.env;
const BOT = 'acme-parrot';
const PATIENCE = 20_000;
const WIDE = { width: 1280, height: 900 };
const NARROW = { width: 390, height: 844 };
const faults = [];

function wrong(where, what) {
  faults.push(`${where}: ${what}`);
}

function check(is, where, what) {
  if (!is) wrong(where, what);
}

const say = (text) => console.log(`say ${text}`);

// What no page may do, whichever it is: complain, break its policy, run what somebody wrote, or ask another machine for something.
function watch(page, name) {
  const at = () => `${name} ${page.url().replace(BASE, '')}`;
  page.expected = new Set();
  page.on('console', (message) => {
    const isExpected = [...page.expected].some((text) => message.text().includes(text));
    if (['error', 'warning'].includes(message.type()) && !isExpected) wrong(at(), `console: ${message.text()}`);
  });
  page.on('pageerror', (error) => wrong(at(), `script: ${error}`));
  page.on('request', (request) => {
    if (!request.url().startsWith(`${BASE}/`) && !request.url().startsWith('data:')) wrong(at(), `asked for ${request.url()}`);
  });
  page.on('dialog', async (dialog) => {
    check(dialog.type() === 'confirm', at(), `a ${dialog.type()} came up: ${dialog.message()}`);
    await dialog.accept();
  });
}

async function person(browser, name, options = {}) {
  const context = await browser.newContext({ viewport: WIDE, locale: 'en-US', colorScheme: 'light', ...options });
  context.setDefaultTimeout(PATIENCE);
  const page = await context.newPage();
  watch(page, name);
  return page;
}

async function signIn(page, name, password = PASSWORD) {
  await page.goto(`${BASE}/sign-in`);
  await page.fill('input[name=name]', name);
  await page.fill('input[name=password]', password);
  await page.click('button.main');
}

const row = (page, bot) => page.locator('tr', { has: page.locator(`a[href="/bots/${bot}"]`) });
const seen = (locator) => locator.first().waitFor({ state: 'visible' });
const flash = (page, kind) => seen(page.locator(`.flash.${kind}`));

// Marks the document: what is still there afterwards was not loaded anew.
const mark = (page) => page.evaluate(() => { window.marked = true; });
async function unloaded(page, what) {
  check(await page.evaluate(() => window.marked === true), what, 'the page was loaded anew');
}

async function step(name, work) {
  const begun = Date.now();
  try {
    await work();
    console.log(`${name}: ${Date.now() - begun} ms`);
  } catch (error) {
    throw new Error(`${name}: ${error.message.split('\n').slice(0, 6).join(' | ')}`);
  }
}

async function work(browser) {
  const admin = await person(browser, 'admin');
  const tenant = await person(browser, 'tenant');
  await step('signing in', async () => {
    admin.expected.add('401');
    await admin.goto(BASE);
    check(admin.url() === `${BASE}/sign-in`, 'signing in', `nobody is at ${admin.url()}`);
    await signIn(admin, 'maria', 'a wrong password');
    await flash(admin, 'bad');
    check(await admin.inputValue('input[name=name]') === 'maria', 'signing in', 'the name is forgotten');
    admin.expected.delete('401');
    await signIn(admin, 'maria');
    await admin.waitForURL(`${BASE}/`);
  });
  await step('an upload', async () => {
    await admin.goto(`${BASE}/bots`);
    await admin.setInputFiles('input[type=file]', COMPONENT);
    await admin.click('[data-upload] button.main');
    await seen(admin.locator('[data-upload] output.good'));
    await admin.goto(`${BASE}/bots`);
    await seen(row(admin, 'echo').locator('.tag.good'));
  });
  await step('picking an offer', async () => {
    await signIn(tenant, 'li');
    await tenant.waitForURL(`${BASE}/`);
    await tenant.goto(`${BASE}/offers`);
    check((await tenant.textContent('.offer h2')).includes(HOSTILE), 'offers', 'the title is not shown as it is');
    await tenant.click('.offer summary');
    await tenant.fill('input[name="connector.token"]', TELEGRAM_TOKEN);
    await tenant.fill('.offer input[name="setting./greeting"]', 'good day');
    await tenant.fill('.offer input[name="setting./key"]', 's3cret');
    await tenant.screenshot({ path: path.join(OUT, 'offer-form.1280.png'), fullPage: true });
    await tenant.click('.offer button.main');
    await tenant.waitForURL(`${BASE}/bots`);
    await flash(tenant, 'good');
    await mark(tenant);
    await seen(row(tenant, BOT).locator('.tag.good'));
    await unloaded(tenant, 'a bot that starts');
    check(await row(tenant, 'echo').count() === 0, 'the bots of a tenant', "another's is listed");
    tenant.expected.add('404');
    await tenant.goto(`${BASE}/bots/echo`);
    check((await tenant.textContent('h1')).length > 0 && await tenant.locator('nav#menu a').count() > 3, "another's bot", 'the refusal is no page');
    tenant.expected.delete('404');
  });
  await step('switching off and on', async () => {
    await tenant.goto(`${BASE}/bots/${BOT}`);
    await tenant.click('button.danger');
    await flash(tenant, 'good');
    await tenant.waitForFunction(() => document.querySelector('h1 ~ .tag')?.classList.contains('plain'));
    await tenant.click('button[formaction$="/enable"]');
    await flash(tenant, 'good');
    await mark(tenant);
    await seen(tenant.locator('h1 ~ .tag.good'));
  });
  await step('settings', async () => {
    await tenant.goto(`${BASE}/bots/${BOT}`);
    const field = (name) => tenant.locator(`[name="setting./${name}"]`);
    check(await field('greeting').inputValue() === 'good day', 'settings', 'what was given with the offer is not there');
    for (const hidden of ['setting./key', 'connector.token']) {
      check(await tenant.inputValue(`[name="${hidden}"]`) === '', 'settings', `${hidden} is shown`);
      check((await tenant.getAttribute(`[name="${hidden}"]`, 'placeholder') ?? '').includes('is set'), 'settings', `${hidden} is forgotten`);
    }
    // What a browser would not send, the host refuses.
    await field('limit').evaluate((input) => { input.type = 'text'; input.value = 'many'; });
    await tenant.click('form[action$="/settings"] button.main');
    await flash(tenant, 'bad');
    await tenant.screenshot({ path: path.join(OUT, 'settings-refused.1280.png'), fullPage: true });
    await field('greeting').fill(`hi ${HOSTILE}`);
    await field('limit').fill('5');
    await field('loud').selectOption('true');
    await field('mood').selectOption('merry');
    await field('words').fill('one\ntwo');
    await tenant.click('form[action$="/settings"] button.main');
    await flash(tenant, 'good');
    const shown = await Promise.all(['greeting', 'limit', 'loud', 'mood', 'words'].map((name) => field(name).inputValue()));
    check(JSON.stringify(shown) === JSON.stringify([`hi ${HOSTILE}`, '5', 'true', 'merry', 'one\ntwo']), 'settings', `they are ${shown}`);
    await seen(tenant.locator('h1 ~ .tag.good'));
  });
  await step('an alert', async () => {
    await admin.goto(`${BASE}/alerts`);
    await mark(admin);
    say(`!alert ${HOSTILE}`);
    const alert = admin.locator('#active tr', { hasText: 'onerror' });
    await seen(alert);
    await unloaded(admin, 'an alert');
    check((await alert.textContent()).includes(HOSTILE), 'alerts', 'what it says is not shown as it is');
    await alert.locator('button', { hasText: 'Acknowledge' }).click();
    await flash(admin, 'good');
    await seen(admin.locator('#active tr', { hasText: 'looked after by maria' }));
    await admin.screenshot({ path: path.join(OUT, 'alert-acknowledged.1280.png'), fullPage: true });
    await tenant.goto(`${BASE}/alerts`);
    await tenant.locator('#active tr', { hasText: 'onerror' }).locator('button', { hasText: 'Resolve' }).click();
    await flash(tenant, 'good');
    check(await tenant.locator('#active tr', { hasText: 'onerror' }).count() === 0, 'alerts', 'it is still up');
  });
  await step('a message that always fails', async () => {
    await admin.goto(`${BASE}/dead-letters`);
    say(`!fail ${HOSTILE}`);
    const deadline = Date.now() + PATIENCE;
    while (await admin.locator('input[name=choose]').count() === 0 && Date.now() < deadline) {
      await admin.waitForTimeout(200);
      await admin.reload();
    }
  });
  await step('a broken version', async () => {
    await admin.goto(`${BASE}/bots`);
    await admin.setInputFiles('input[type=file]', BROKEN);
    await admin.click('[data-upload] button.main');
    await seen(admin.locator('[data-upload] output.good'));
    await admin.goto(`${BASE}/bots/${BOT}`);
    await admin.click('[data-logs]');
    await mark(admin);
    say(`!panic ${HOSTILE}`);
    await seen(admin.locator('#log-lines span', { hasText: 'onerror' }));
    await unloaded(admin, 'live logs');
    await admin.screenshot({ path: path.join(OUT, 'bot-logs.1280.png'), fullPage: true });
    await admin.click('[data-logs]');
    await admin.reload();
    const fault = admin.locator('[aria-labelledby=faults-title] tr', { hasText: 'boom' });
    check((await fault.first().textContent()).includes(HOSTILE), 'a fault', 'what it says is not shown as it is');
    await fault.first().locator('summary').click();
    check((await fault.first().locator('pre').textContent()).trim().length > 10, 'a fault', 'it has no backtrace');
    await admin.screenshot({ path: path.join(OUT, 'bot-fault.1280.png'), fullPage: true });
  });
  await step('a roll-back', async () => {
    await admin.goto(`${BASE}/configuration`);
    const before = admin.locator('tbody tr').nth(1);
    await before.locator('input[name=reason]').fill('the new one breaks');
    await before.locator('button').click();
    await flash(admin, 'good');
    await seen(admin.locator('tbody tr', { hasText: 'the new one breaks' }));
    await admin.goto(`${BASE}/configuration?from=1&to=2`);
    await seen(admin.locator('#difference'));
  });
  await step('a dead letter', async () => {
    await admin.goto(`${BASE}/dead-letters`);
    check((await admin.textContent('td.message')).includes(HOSTILE), 'dead letters', 'what it says is not shown as it is');
    await pictures(admin, 'dead-letters-full');
    await admin.check('[data-choose-all]');
    await admin.click('button[value=retry]');
    await flash(admin, 'good');
    await admin.goto(`${BASE}/messages?text=onerror`);
    const messages = await admin.locator('td.message').allTextContents();
    check(messages.some((text) => text.includes(HOSTILE)), 'messages', 'what it says is not shown as it is');
    await admin.locator('td.message a').first().click();
    await seen(admin.locator('.timeline'));
    await pictures(admin, 'message');
  });
  return [admin, tenant];
}

async function pictures(page, name) {
  for (const viewport of [WIDE, NARROW]) {
    await page.setViewportSize(viewport);
    await page.screenshot({ path: path.join(OUT, `${name}.${viewport.width}.png`), fullPage: true });
  }
  await page.setViewportSize(WIDE);
}

// Looks at a page as it is, and returns what is wrong with it.
function looked() {
  const found = [];
  const shown = (element) => element.checkVisibility({ visibilityProperty: true, opacityProperty: true }) && !element.closest('[hidden]');
  const short = (element) => element.outerHTML.slice(0, 100);
  const root = document.documentElement;
  if (root.scrollWidth > innerWidth) {
    const wide = [...document.querySelectorAll('body *')].filter((element) => element.getBoundingClientRect().right > innerWidth + 1);
    found.push(`${root.scrollWidth} px wide at ${innerWidth}: ${wide.slice(-1).map(short)}`);
  }
  for (const input of document.querySelectorAll('input:not([type=hidden]), select, textarea, progress, output')) {
    const isNamed = input.labels?.length > 0 || input.getAttribute('aria-label') || input.getAttribute('aria-labelledby');
    if (!isNamed && input.tagName !== 'OUTPUT') found.push(`no label: ${short(input)}`);
  }
  const text = (element) => element.getAttribute('aria-label') || element.textContent.trim() || element.title;
  for (const element of document.querySelectorAll('a, button, summary, h1, h2, h3')) if (!text(element)) found.push(`no name: ${short(element)}`);
  for (const svg of document.querySelectorAll('svg')) if (!svg.getAttribute('aria-label') && !svg.getAttribute('aria-hidden')) found.push(`no name: ${short(svg)}`);
  for (const image of document.querySelectorAll('img')) if (!image.hasAttribute('alt')) found.push(`no name: ${short(image)}`);
  let level = 0;
  for (const heading of document.querySelectorAll('h1, h2, h3, h4')) {
    const next = Number(heading.tagName[1]);
    if (next > level + 1) found.push(`h${next} after h${level}: ${short(heading)}`);
    level = next;
  }
  if (document.querySelectorAll('h1').length !== 1) found.push('not one h1');
  const ids = [...document.querySelectorAll('[id]')].map((element) => element.id);
  ids.filter((id, at) => ids.indexOf(id) !== at).forEach((id) => found.push(`twice: id ${id}`));
  for (const named of document.querySelectorAll('[aria-labelledby]')) {
    if (!document.getElementById(named.getAttribute('aria-labelledby'))) found.push(`named by nothing: ${short(named)}`);
  }
  // Contrast by the WCAG's formula, against what is painted below.
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const numbers = (colour) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data; return [r, g, b, a / 255]; };
  const behind = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) {
      const colour = numbers(getComputedStyle(at).backgroundColor);
      if (colour[3] > 0) layers.push(colour);
      if (colour[3] >= 1) break;
    }
    return layers.reverse().reduce((below, [r, g, b, a]) => [r * a + below[0] * (1 - a), g * a + below[1] * (1 - a), b * a + below[2] * (1 - a)], [255, 255, 255]);
  };
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)).reduce((sum, c, at) => sum + c * [0.2126, 0.7152, 0.0722][at], 0);
  const told = new Set();
  for (const element of document.querySelectorAll('body *')) {
    const hasText = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!hasText || !shown(element) || element.closest('.unseen, .skip, option, noscript, thead')) continue;
    const [a, b] = [light(numbers(getComputedStyle(element).color)), light(behind(element))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const key = `${element.tagName}.${element.className}`;
    if (contrast < 4.5 && !told.has(key)) { told.add(key); found.push(`contrast ${contrast.toFixed(2)}: ${short(element)}`); }
  }
  return found;
}

// Goes through a page by the tab key alone: all that can be done is reached, in the order of the page, and each shows that it is.
async function tabbed(page, where) {
  const wanted = await page.evaluate(() => {
    const all = [...document.querySelectorAll('a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex="0"]')];
    const reach = all.filter((element) => element.checkVisibility({ visibilityProperty: true }) && !element.disabled);
    reach.forEach((element, at) => { element.dataset.place = at; });
    document.activeElement?.blur();
    return reach.length;
  });
  const reached = [];
  for (let at = 0; at < wanted + 2 && reached.length < wanted; at += 1) {
    await page.keyboard.press('Tab');
    const now = await page.evaluate(() => {
      const element = document.activeElement;
      const style = getComputedStyle(element);
      return { place: element.dataset?.place, isShown: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 1, html: element.outerHTML.slice(0, 80) };
    });
    if (now.place === undefined) continue;
    reached.push(Number(now.place));
    check(now.isShown, where, `the focus is not to be seen: ${now.html}`);
  }
  check(new Set(reached).size === wanted, where, `tab reaches ${new Set(reached).size} of ${wanted}`);
  check(reached.every((place, at) => at === 0 || place > reached[at - 1]), where, `tab goes ${reached}`);
}

const HOST_PAGES = ['/', '/bots', '/bots/echo', `/bots/${BOT}`, '/connectors', '/messages', '/dead-letters', '/outbox', '/outbox?state=lost', '/alerts', '/configuration', '/tenants', '/offers', '/account', '/audit'];
const TENANT_PAGES = ['/', '/bots', `/bots/${BOT}`, '/messages', '/dead-letters', '/alerts', '/offers', '/account'];

async function visits(browser, who, state, paths) {
  for (const [locale, colorScheme] of [['en-US', 'light'], ['zh-CN', 'light'], ['en-US', 'dark'], ['zh-CN', 'dark']]) {
    const page = await person(browser, `${who} ${locale} ${colorScheme}`, { storageState: state, locale, colorScheme });
    for (const one of paths) {
      await page.setViewportSize(WIDE);
      const answer = await page.goto(BASE + one);
      const where = `${who} ${one} ${locale} ${colorScheme}`;
      check(answer.status() === 200, where, `status ${answer.status()}`);
      check(await page.getAttribute('html', 'lang') === (locale === 'zh-CN' ? 'zh-Hans' : 'en'), where, 'the language is another');
      if (locale === 'en-US' && colorScheme === 'light') await tabbed(page, where);
      for (const viewport of [WIDE, NARROW]) {
        await page.setViewportSize(viewport);
        for (const fault of await page.evaluate(looked)) wrong(`${where} ${viewport.width}`, fault);
        const look = `${locale === 'en-US' ? '' : '.zh'}${colorScheme === 'light' ? '' : '.dark'}.${viewport.width}`;
        const name = one === '/' ? 'overview' : one.slice(1).replace(/\W+/g, '-');
        await page.screenshot({ path: path.join(OUT, `${who}-${name}${look}.png`), fullPage: true });
      }
      if (locale === 'en-US' && colorScheme === 'light') {
        await page.click('a.opener');
        check(await page.locator('nav#menu a').first().isVisible(), where, 'the menu does not open');
      }
    }
    await page.context().close();
  }
}

async function withoutScript(browser) {
  const page = await person(browser, 'no script', { javaScriptEnabled: false });
  await signIn(page, 'maria');
  await page.waitForURL(`${BASE}/`);
  await page.goto(`${BASE}/bots?search=ech`);
  await row(page, 'echo').locator('button', { hasText: /^Stop/ }).click();
  await flash(page, 'good');
  check(page.url().includes('search=ech'), 'no script', `a form leads back to ${page.url()}`);
  await row(page, 'echo').locator('button', { hasText: /^Start/ }).click();
  await flash(page, 'good');
  await page.click('button[name=language]');
  check(await page.getAttribute('html', 'lang') === 'zh-Hans', 'no script', 'the language stays');
  await page.screenshot({ path: path.join(OUT, 'no-script.zh.1280.png'), fullPage: true });
  await page.click('form[action="/sign-out"] button');
  await page.waitForURL(`${BASE}/sign-in`);
}

async function farewell(admin, tenant) {
  await admin.goto(`${BASE}/`);
  await admin.click('[data-theme-switch]');
  const dark = () => admin.evaluate(() => getComputedStyle(document.documentElement).colorScheme);
  check(await dark() === 'dark', 'the theme', 'it does not change');
  await admin.goto(`${BASE}/bots`);
  check(await dark() === 'dark', 'the theme', 'it does not stay');
  await admin.click('button[name=language]');
  check((await admin.textContent('h1')) === '机器人', 'the language', 'it does not change');
  check(admin.url() === `${BASE}/bots`, 'the language', `it leads to ${admin.url()}`);
  for (const page of [admin, tenant]) {
    await page.goto(`${BASE}/`);
    await page.click('form[action="/sign-out"] button');
    await page.waitForURL(`${BASE}/sign-in`);
    await page.goto(`${BASE}/bots`);
    check(page.url() === `${BASE}/sign-in`, 'signing out', `it leads to ${page.url()}`);
  }
  await admin.screenshot({ path: path.join(OUT, 'sign-in.zh.dark.1280.png'), fullPage: true });
  await pictures(tenant, 'sign-in');
  for (const fault of await tenant.evaluate(looked)) wrong('sign-in', fault);
}

async function main() {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'dashboard-'));
  const args = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args, env: { ...process.env, HOME: dir } });
  try {
    const [admin, tenant] = await work(browser);
    const [ours, theirs] = [await admin.context().storageState(), await tenant.context().storageState()];
    await step('every page of the admin', () => visits(browser, 'admin', ours, HOST_PAGES));
    await step('every page of a tenant', () => visits(browser, 'tenant', theirs, TENANT_PAGES));
    await step('without script', () => withoutScript(browser));
    await step('going', () => farewell(admin, tenant));
  } catch (error) {
    wrong('stopped', error.message);
    for (const [at, page] of browser.contexts().flatMap((context) => context.pages()).entries()) {
      await page.screenshot({ path: path.join(OUT, `stopped-${at}.png`), fullPage: true }).catch(() => {});
    }
  } finally {
    await browser.close();
    fs.rmSync(dir, { recursive: true, force: true });
  }
  console.log(`pictures: ${OUT}`);
  if (faults.length > 0) {
    console.error(faults.join('\n'));
    process.exit(1);
  }
}

main().catch((error) => { console.error(error); process.exit(1); });
