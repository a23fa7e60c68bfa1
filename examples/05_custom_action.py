"""An action of one's own, made of the built-in ones; others can hook it like any other."""

import asyncio

import attrs

from flex_actions import ActionError, File, connect, current_invocation, payload_update


@attrs.define
class SendReceipt:
    """Its payload: what hooks see and may change."""

    order: int
    total_eur: float
    channel_sid: str


def register(actions):
    """Register `SendReceipt {order, totalEur, channelSid}`."""

    async def send_receipt(payload):
        text = f"Order {payload.order}: {payload.total_eur:.2f} EUR\n"
        file = File.from_bytes(text.encode(), name=f"receipt-{payload.order}.txt")
        return await actions.invoke("SendMediaMessage", {"file": file, "channelSid": payload.channel_sid})

    actions.register("SendReceipt", send_receipt, payload_update=payload_update(SendReceipt))


async def main():
    async with connect("memory:", identity="till", role="bot") as bot:
        register(bot.actions)

        @bot.actions.before("SendReceipt")
        def no_free_receipts(payload, abort):
            if payload.total_eur <= 0:
                abort("nothing was paid")

        @bot.actions.before("SendMediaMessage")
        def say_who_began_it(payload):
            print(f"{payload.file.name}, sent by {current_invocation().parent.action}")

        sid = (await bot.create_channel()).sid
        for order, total in ((41, 0.0), (42, 59.0)):
            try:
                await bot.actions.invoke("SendReceipt", {"order": order, "totalEur": total, "channelSid": sid})
            except ActionError as error:
                print(f"{error.code}: {error}")


asyncio.run(main())

# Output:
# action_aborted: SendReceipt was aborted by main.no_free_receipts: nothing was paid
# receipt-42.txt, sent by SendReceipt
