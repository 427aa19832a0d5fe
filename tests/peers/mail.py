"""A mail server of aiosmtpd's on 127.0.0.1. Says "PORT n" first, and then each mail that it took as a line of JSON.

Environment: MODE (none, starttls or implicit), CERT and KEY for the last two, PASSWORD for a user "bot" who must log in, and REPLIES, the
answers to the next mails, such as "451 later;550 no"; what is not said is "250 OK".
"""

import asyncio
import json
import os
import ssl

from aiosmtpd.smtp import SMTP, AuthResult

mode = os.environ["MODE"]
password = os.environ.get("PASSWORD", "")
replies = [reply for reply in os.environ.get("REPLIES", "").split(";") if reply]


class Handler:
    async def handle_DATA(self, server, session, envelope):
        reply = replies.pop(0) if replies else "250 OK"
        mail = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "text": envelope.content.decode("utf-8", "replace"),
            "hello": session.host_name,
            "is_encrypted": mode == "implicit" or session.ssl is not None,
            "is_authenticated": session.authenticated,
            "reply": reply,
        }
        print(json.dumps(mail), flush=True)
        return reply


def authenticate(server, session, envelope, mechanism, data):
    is_right = data.login == b"bot" and data.password == password.encode()
    return AuthResult(success=is_right, handled=False)


def smtp(context):
    options = {}
    if mode == "starttls":
        options.update(tls_context=context, require_starttls=True)
    if password:
        options.update(authenticator=authenticate, auth_required=True, auth_require_tls=mode == "starttls")
    return SMTP(Handler(), **options)


async def main():
    context = None
    if mode != "none":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(os.environ["CERT"], os.environ["KEY"])
    loop = asyncio.get_running_loop()
    wrap = context if mode == "implicit" else None
    server = await loop.create_server(lambda: smtp(context), "127.0.0.1", 0, ssl=wrap)
    print("PORT", server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
