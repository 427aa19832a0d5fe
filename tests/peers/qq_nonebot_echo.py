"""NoneBot2 with the adapter of QQ's official API: answers every message with `echo:` and the message.

Environment: PORT to listen on, API where the platform is, APP and SECRET, and MODE, `websocket` or `webhook`.
"""

import os

import nonebot
from nonebot import on_message
from nonebot.adapters.qq import Adapter, MessageEvent

api = os.environ["API"]
bot = {
    "id": os.environ["APP"],
    "secret": os.environ["SECRET"],
    "use_websocket": os.environ["MODE"] == "websocket",
    "intent": {"c2c_group_at_messages": True, "direct_message": True, "interaction": True},
}
nonebot.init(
    driver="~fastapi+~websockets+~httpx",
    host="127.0.0.1",
    port=int(os.environ["PORT"]),
    qq_api_base=api,
    qq_auth_base=api + "/app/getAppAccessToken",
    qq_bots=[bot],
    log_level="WARNING",
)
nonebot.get_driver().register_adapter(Adapter)

echo = on_message()


@echo.handle()
async def _(event: MessageEvent) -> None:
    await echo.finish("echo:" + event.get_plaintext())


nonebot.run()
