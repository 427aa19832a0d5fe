"""aiogram: answers texts, files, edits and pressed buttons, so that each can be told from what it sends.

Environment: API, the base URL of a Bot API server; TOKEN; PORT to have updates posted to, empty to poll for them; SECRET of the webhook.
"""

import asyncio
import io
import os

from aiogram import Bot, Dispatcher, F
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import TelegramAPIServer
from aiogram.types import BufferedInputFile, CallbackQuery, InlineKeyboardButton, InlineKeyboardMarkup, Message
from aiogram.webhook.aiohttp_server import SimpleRequestHandler
from aiohttp import web

port = os.environ["PORT"]
dispatcher = Dispatcher()
again = InlineKeyboardMarkup(inline_keyboard=[[InlineKeyboardButton(text="Again", callback_data="again")]])


@dispatcher.message(F.text)
async def _(message: Message) -> None:
    await message.answer("echo:" + message.text, reply_markup=again)


@dispatcher.message(F.document)
async def _(message: Message, bot: Bot) -> None:
    content = io.BytesIO()
    await bot.download(message.document, content)
    back = BufferedInputFile(content.getvalue(), message.document.file_name)
    await message.answer_document(back, caption="back:" + (message.caption or ""))


@dispatcher.edited_message()
async def _(message: Message) -> None:
    await message.answer("edited:" + message.text)


@dispatcher.callback_query()
async def _(query: CallbackQuery) -> None:
    await query.answer()
    await query.message.edit_text("pressed:" + query.data)


def make_bot() -> Bot:
    server = TelegramAPIServer.from_base(os.environ["API"])
    return Bot(os.environ["TOKEN"], session=AiohttpSession(api=server))


async def poll() -> None:
    await dispatcher.start_polling(make_bot(), handle_signals=False)


async def serve() -> None:
    bot, secret = make_bot(), os.environ["SECRET"]
    app = web.Application()
    SimpleRequestHandler(dispatcher, bot, secret_token=secret).register(app, path="/hook")
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", int(port)).start()
    await bot.set_webhook(f"http://127.0.0.1:{port}/hook", secret_token=secret)
    await asyncio.Event().wait()


asyncio.run(serve() if port else poll())
