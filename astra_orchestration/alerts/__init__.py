"""Telling people what happened when nobody looks at the UI: by mail, by a webhook, by a command.

Sensors find out what is to be told (`astra_orchestration.automation`). Here is how it is written, where it goes, and
what becomes of it if it can't be delivered.
"""

from astra_orchestration.alerts.adapters import Adapter, CommandAdapter, DeliveryError, MailAdapter, WebhookAdapter
from astra_orchestration.alerts.outbox import Outbox
from astra_orchestration.alerts.settings import HOW_TO_CONFIGURE, AlertSettings, alert_settings
from astra_orchestration.alerts.text import Alert

__all__ = [
    "HOW_TO_CONFIGURE",
    "Adapter",
    "Alert",
    "AlertSettings",
    "CommandAdapter",
    "DeliveryError",
    "MailAdapter",
    "Outbox",
    "WebhookAdapter",
    "alert_settings",
]
