"""NoneBot2 with the OneBot v11 adapter: answers every message with `echo:` and the message.

Environment: PORT to listen on, TOKEN, and DIAL, the WebSocket URL of an implementation to dial; empty for none.
"""

import os

import nonebot
from nonebot import on_message
from nonebot.adapters.onebot.v11 import Adapter, MessageEvent

dial = os.environ.get("DIAL", "")
nonebot.init(
    driver="~fastapi+~websockets",
    host="127.0.0.1",
    port=int(os.environ["PORT"]),
    onebot_access_token=os.environ["TOKEN"],
    onebot_ws_urls=[dial] if dial else [],
    log_level="WARNING",
)
nonebot.get_driver().register_adapter(Adapter)

echo = on_message()


@echo.handle()
async def _(event: MessageEvent) -> None:
    await echo.finish("echo:" + event.get_plaintext())


nonebot.run()
