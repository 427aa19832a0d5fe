"""discord.py: answers every message with `echo:` and the message.

Environment: TOKEN, and API_URL, where the REST API is.
"""

import functools
import json
import os
import urllib.request

import discord
import yarl
from discord.gateway import DiscordWebSocket
from discord.http import Route

Route.BASE = os.environ["API_URL"]
# Only a client with several shards asks for the gateway by itself.
headers = {"Authorization": "Bot " + os.environ["TOKEN"], "User-Agent": "DiscordBot (script, 1)"}
with urllib.request.urlopen(urllib.request.Request(Route.BASE + "/gateway/bot", headers=headers)) as answer:
    DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(json.load(answer)["url"])
# The gateway is asked for plain frames: compression is discord.py's choice, not a part of the protocol.
DiscordWebSocket.from_client = functools.partial(DiscordWebSocket.from_client, compress=False)


class Echo(discord.Client):
    async def on_message(self, message: discord.Message) -> None:
        if message.author != self.user:
            await message.channel.send("echo:" + message.content)


intents = discord.Intents.default()
intents.message_content = True
Echo(intents=intents).run(os.environ["TOKEN"])
