"""From a request to its reply: who asks, what is meant, whether it is known, and the change that it makes, whole or not at all."""

import secrets
from collections.abc import Mapping
from typing import Any

from tasks.cloud.local import faults, signature
from tasks.cloud.local.call import Asked, Call, Service
from tasks.cloud.local.refusal import Refusal, unknown
from tasks.cloud.local.store import Store
from tasks.cloud.local.wire import parse, route, write
from tasks.cloud.local.wire.request import Request

NOT_MODIFIED = 304
DRY = ("DryRunOperation", "Request would have succeeded, but DryRun flag is set.", 412)


class Dispatcher:
    def __init__(self, store: Store, services: Mapping[str, Service]) -> None:
        self.store, self.services = store, services

    def answer(self, request: Request) -> write.Reply:
        """Raises faults.Dropped when the connection is to break off."""
        service, identity = signature.service_of(request), secrets.token_hex(16)
        try:
            return self._answer(service, request, identity)
        except Refusal as refusal:
            return write.error(
                service,
                refusal,
                identity,
                silent=request.method == "HEAD" or refusal.status == NOT_MODIFIED,
            )

    def _answer(self, service: str, request: Request, identity: str) -> write.Reply:
        caller = signature.caller(request)
        operation = route.operation(service, request)
        order = faults.due(self.store, service, operation.name)
        faults.before(order, service, operation.name)
        work = self.services[service].deeds.get(operation.name)
        if work is None:
            raise unknown(f"the operation {operation.name}", service)
        asked = Asked(parse.parameters(operation, request))
        call = Call(
            service,
            operation.name,
            caller.account,
            caller.region,
            asked,
            request.body,
            self.store,
            request.headers,
        )
        change = work(call)
        with self.store.change():
            result = change()
            dry = asked.get("DryRun", False)
            if strange := sorted(asked.unseen()):
                raise unknown(f"{', '.join(strange)} of {operation.name}", service)
            reply = write.reply(operation, result, identity)
            if dry:
                raise Refusal(*DRY)
        for each in call.then:
            each()
        faults.after(order, service)
        return reply


def services(*known: Any) -> dict[str, Service]:
    """By name, each from its module."""
    return {module.SERVICE.name: module.SERVICE for module in known}
