"""NoneBot2 with the OneBot v11 adapter: answers every message with `echo:` and the message, welcomes whoever joins a group, and lets
everybody be a friend.

Environment: PORT to listen on, TOKEN, SECRET of what is posted to it, DIAL, the WebSocket URL of an implementation to dial, empty
for none, and API, the address of account 10's API by HTTP, empty for none.
"""

import os

import nonebot
from nonebot import on_message, on_notice, on_request
from nonebot.adapters.onebot.v11 import (
    Adapter,
    Bot,
    FriendRequestEvent,
    GroupIncreaseNoticeEvent,
    MessageEvent,
)

dial = os.environ.get("DIAL", "")
api = os.environ.get("API", "")
nonebot.init(
    driver="~fastapi+~websockets+~httpx",
    host="127.0.0.1",
    port=int(os.environ["PORT"]),
    onebot_access_token=os.environ["TOKEN"],
    onebot_secret=os.environ.get("SECRET") or None,
    onebot_ws_urls=[dial] if dial else [],
    onebot_api_roots={"10": api} if api else {},
    log_level="WARNING",
)
nonebot.get_driver().register_adapter(Adapter)

echo = on_message()
joined = on_notice()
asked = on_request()


@echo.handle()
async def _(event: MessageEvent) -> None:
    await echo.finish("echo:" + event.get_plaintext())


@joined.handle()
async def _(event: GroupIncreaseNoticeEvent) -> None:
    await joined.finish(f"welcome:{event.user_id}")


@asked.handle()
async def _(bot: Bot, event: FriendRequestEvent) -> None:
    await event.approve(bot)


nonebot.run()
