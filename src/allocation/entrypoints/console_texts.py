"""The lines in which the console prints what happens; see the engine's `ConsoleReporter`.

A command or handler without a line here is printed by its name, so nothing has to be added. A
handler that changes something here, and causes no event, is printed only if it has a line.
"""

MESSAGES: dict[str, tuple[str, ...]] = {
    "RegisterUser": (
        "[User Service]   registered {0.name} <{0.email}> as {UserRegistered.user_id}",
        "[User Service]   {0.email} was registered before; nothing to do",
    ),
    "ImportUsers": (),  # the command itself prints how many there are
    "ChangeEmail": (
        "[User Service]   e-mail address of {0.user_id} changed to {EmailChanged.new_email}",
        "[User Service]   {0.user_id} has the address {0.new_email} already; nothing to do",
    ),
    "RecordBounce": (
        "[User Service]   there is no address {EmailBounced.email}, so nothing is sent to it",
        "[User Service]   there is no address {0.email}; nothing to do",
    ),
    "AddCouponBatch": ("[Coupon Service] batch {0.reference} holds {0.quantity} coupons",),
    "RedeemCoupon": (
        "[Coupon Service] coupon {CouponRedeemed.batch_reference}-… redeemed",
        "[Coupon Service] redemption {0.redemption_id} was done before; nothing to do",
    ),
    "log_registration": ("[Log Service]    user registered: {0.email}",),
    "allocate_welcome_coupon": (
        "[Coupon Service] coupon {CouponAllocated.batch_reference}-… allocated to {0.email}",
        "[Coupon Service] no coupon left for {0.email}",
    ),
    "expire_coupon": ("[Coupon Service] coupon {CouponExpired.batch_reference}-… has expired",),
    "give_coupon_back": ("[Coupon Service] a coupon is back in {0.batch_reference}",),
    "send_welcome_email": ("[Email Service]  welcome e-mail{sent} to {0.email}{kept}",),
    "send_coupon_email": ("[Email Service]  e-mail with coupon {0.batch_reference}-…{sent}{kept}",),
    "send_coupon_reminder": (),  # it may have sent none
    "send_change_notice": ("[Email Service]  notice of change{sent} to {0.old_email}{kept}",),
    "notify_marketing": (
        "[Email Service]  notice of being out of coupons{sent} to marketing{kept}",
    ),
}
"""What is printed about a command, or about a handler by its current name.

Printed is the first text whose fields can be filled with the message, {0}, and the events it
caused; an e-mail was `sent`, or `kept` in a folder. A coupon's code is not printed, because it is
money, and the output goes to journals, too.
"""
