"""Bolt for Python: answers `ping` with `pong` and a button, a press with the button's value, `/weather` with its text.

Environment: API_URL of the Web API, BOT_TOKEN, and APP_TOKEN for Socket Mode, or SIGNING_SECRET and PORT to be called at.
"""

import asyncio
import os

from slack_bolt.adapter.socket_mode.aiohttp import AsyncSocketModeHandler
from slack_bolt.app.async_app import AsyncApp
from slack_sdk.web.async_client import AsyncWebClient

client = AsyncWebClient(token=os.environ["BOT_TOKEN"], base_url=os.environ["API_URL"] + "/")
app = AsyncApp(client=client, signing_secret=os.environ.get("SIGNING_SECRET", "none"))


@app.message("ping")
async def ping(message: dict, say) -> None:
    button = {"type": "button", "action_id": "again", "value": "pressed", "text": {"type": "plain_text", "text": "Again"}}
    blocks = [
        {"type": "section", "text": {"type": "mrkdwn", "text": "pong"}},
        {"type": "actions", "elements": [button]},
    ]
    await say(text="pong", blocks=blocks, thread_ts=message.get("thread_ts"))


@app.action("again")
async def again(ack, action: dict, say) -> None:
    await ack()
    await say(text=action["value"])


@app.command("/weather")
async def weather(ack, command: dict, say) -> None:
    await ack()
    await say(text="weather " + command["text"])


async def by_socket() -> None:
    await AsyncSocketModeHandler(app, os.environ["APP_TOKEN"]).start_async()


if "PORT" in os.environ:
    app.start(port=int(os.environ["PORT"]), host="127.0.0.1")
else:
    asyncio.run(by_socket())
