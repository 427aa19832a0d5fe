//! How pages are answered: as HTML under a policy that lets nothing in from elsewhere, and after a deed by leading back, with what it
//! came to in a cookie that the next page shows and removes.

use askama::Template;
use data_encoding::BASE64URL_NOPAD;
use http::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, COOKIE, REFERRER_POLICY, RETRY_AFTER, SET_COOKIE,
    WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderValue, StatusCode, Uri};

use super::assets::Asset;
use super::language::Language;
use super::people::RefusalPage;
use super::shell::{Flash, Shell};
use crate::admin::problem::{Answer, Problem, answer, redirect};

/// What a page may load and do.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
const FLASH: &str = "bothost_flash";
const LANGUAGE: &str = "bothost_language";
/// Browsers keep no cookie that is much longer.
const FLASH_CHARS_MAX: usize = 1_000;

/// Returns a page.
pub(super) fn page(status: StatusCode, page: &impl Template, headers: &HeaderMap) -> Answer {
    let Ok(text) = page.render() else {
        return answer(
            StatusCode::INTERNAL_SERVER_ERROR,
            "text/plain; charset=utf-8",
            "the page cannot be written".into(),
        );
    };
    let mut answer = answer(status, "text/html; charset=utf-8", text.into());
    let set = answer.headers_mut();
    set.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    set.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    if cookie(headers, FLASH).is_some() {
        append(set, &format!("{FLASH}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0"));
    }
    answer
}

/// Returns whether somebody in front of a browser waits for a page.
pub(super) fn is_for_a_person(uri: &Uri, headers: &HeaderMap) -> bool {
    let takes = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    !uri.path().starts_with("/api/") && takes.into_iter().any(|types| types.contains("text/html"))
}

/// Returns the page that says why there is none.
pub(super) fn refusal(shell: Shell, headers: &HeaderMap, problem: Problem) -> Answer {
    let (status, why) = (problem.status(), problem.detail().into_owned());
    let mut answer = page(status, &RefusalPage { shell, status: status.as_u16(), why }, headers);
    for (name, value) in problem.into_answer().headers() {
        if [ALLOW, RETRY_AFTER, WWW_AUTHENTICATE].contains(name) {
            answer.headers_mut().insert(name, value.clone());
        }
    }
    answer
}

/// Returns a file that never changes under its name.
pub(super) fn asset(asset: Asset) -> Answer {
    let mut answer = answer(StatusCode::OK, asset.media_type, asset.content.into());
    let forever = HeaderValue::from_static("public, max-age=31536000, immutable");
    answer.headers_mut().insert(CACHE_CONTROL, forever);
    answer
}

/// Leads to a page of this host, which shows what a deed came to.
pub(super) fn back(path: &str, flash: Option<&Flash>) -> Answer {
    let mut answer = redirect(StatusCode::SEE_OTHER, own(path).unwrap_or("/"));
    if let Some(Flash { is_good, text }) = flash {
        let text: String = text.chars().take(FLASH_CHARS_MAX).collect();
        let said = BASE64URL_NOPAD.encode(format!("{}{text}", if *is_good { '+' } else { '-' }).as_bytes());
        append(answer.headers_mut(), &format!("{FLASH}={said}; Path=/; HttpOnly; SameSite=Strict; Max-Age=60"));
    }
    answer
}

/// Adds a cookie with the language that somebody chose.
pub(super) fn remember(answer: &mut Answer, language: Language) {
    let tag = language.tag();
    append(answer.headers_mut(), &format!("{LANGUAGE}={tag}; Path=/; HttpOnly; SameSite=Lax; Max-Age=31536000"));
}

fn append(headers: &mut HeaderMap, cookie: &str) {
    if let Ok(cookie) = HeaderValue::try_from(cookie) {
        headers.append(SET_COOKIE, cookie);
    }
}

/// Returns what the last deed came to, if it was not shown yet.
pub(super) fn flash(headers: &HeaderMap) -> Option<Flash> {
    let said = BASE64URL_NOPAD.decode(cookie(headers, FLASH)?.as_bytes()).ok()?;
    let said = String::from_utf8(said).ok()?;
    let (sign, text) = said.split_at_checked(1)?;
    Some(Flash { is_good: sign == "+", text: text.to_owned() })
}

/// Returns the language of who asks.
pub(super) fn language(headers: &HeaderMap) -> Language {
    let accepted = headers.get(http::header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
    Language::of(cookie(headers, LANGUAGE), accepted)
}

fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let all = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(';'));
    all.filter_map(|pair| pair.trim().split_once('=')).find(|(given, _)| *given == name).map(|(_, value)| value)
}

/// Returns a path if it leads to this host and nowhere else, whatever a browser makes of it.
pub(super) fn own(path: &str) -> Option<&str> {
    let is_own = path.starts_with('/')
        && !path.starts_with("//")
        && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    is_own.then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cookies(answer: &Answer) -> HeaderMap {
        let set = answer.headers().get_all(SET_COOKIE).iter().map(|value| value.to_str().unwrap());
        let pairs = set.map(|cookie| cookie.split(';').next().unwrap().to_owned());
        pairs.map(|pair| (COOKIE, HeaderValue::try_from(pair).unwrap())).collect()
    }

    #[test]
    fn what_a_deed_came_to_is_shown_by_the_next_page() {
        let flash_of = |text: &str| Flash { is_good: text != "no", text: text.to_owned() };
        for text in ["done", "no", "已完成。; Path=/; \r\n x"] {
            let answer = back("/bots", Some(&flash_of(text)));
            assert_eq!(answer.headers()["location"], "/bots");
            assert_eq!(flash(&cookies(&answer)), Some(flash_of(text)));
        }
        assert_eq!(flash(&HeaderMap::new()), None);
        let long = back("/", Some(&flash_of(&"x".repeat(10_000))));
        assert!(long.headers()[SET_COOKIE].len() < 4_096);
    }

    #[test]
    fn nobody_is_led_to_another_host() {
        for path in
            ["//evil.example", "https://evil.example", "/\\evil.example", "/a\r\nb: c", "", "evil", "/ä", "/a b"]
        {
            assert_eq!(own(path), None, "{path}");
            assert_eq!(back(path, None).headers()["location"], "/");
        }
        assert_eq!(own("/bots?search=a&page=2"), Some("/bots?search=a&page=2"));
    }

    #[test]
    fn a_chosen_language_stays() {
        let mut answer = back("/", None);
        remember(&mut answer, Language::Chinese);
        assert_eq!(language(&cookies(&answer)), Language::Chinese);
        assert_eq!(language(&HeaderMap::new()), Language::English);
    }
}
