"""A dictionary in a replicated key-value store, over its HTTP interface.

Values are whatever JSON can hold; one that somebody else wrote and that is no JSON reads as the text that it is. An absent key reads as
None, and None deletes, as in the client of the Go original.
Needs Python 3.9 and nothing else.
"""

import http.client
import json
import random
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any, Callable, Iterator, Optional


class OutcomeUnknown(Exception):
    """No node could say whether the write was done. It was done once, or not at all."""


class KVStoreDict:
    """Keys and values of a cluster; each call is linearizable."""

    def __init__(self, *addresses: str, timeout: float = 10.0):
        """`addresses` are those of nodes, tried in turn; `timeout` is for each call, in seconds."""
        self.addresses = [self._address(address) for address in addresses or ["http://localhost:4000"]]
        self.timeout = timeout

    @staticmethod
    def _address(text: str) -> str:
        """An address without a path. Only that of the keys is taken, which a node prints: any other would lead to other keys."""
        wrong = ValueError(f"{text!r} is no address: it must be http://HOST:PORT, or that with /kvstore/ after it")
        try:
            parts = urllib.parse.urlsplit(text)
            parts.port
        except ValueError as error:
            raise wrong from error
        whole = f"http://{parts.netloc}"
        if not parts.hostname or text not in (whole, whole + "/", whole + "/kvstore/"):
            raise wrong
        return whole

    @staticmethod
    def _send(method: str, url: str, data: Optional[bytes], timeout: float) -> tuple[int, bytes]:
        """Status and body of whatever is answered."""
        request = urllib.request.Request(url, data=data, method=method)
        try:
            response = urllib.request.urlopen(request, timeout=timeout)
        except urllib.error.HTTPError as error:
            response = error
        with response:
            return response.code, response.read()

    @staticmethod
    def _parse(body: bytes) -> tuple[Any, bool]:
        """What a body says, and whether that is JSON."""
        try:
            return json.loads(body), True
        except ValueError:
            return {"error": f"the answer is no JSON: {body[:100]!r}"}, False

    def _request(self, method: str, path: str, body: Optional[dict] = None, again: bool = True) -> tuple[int, Any]:
        """Status and answer of the first node that does it. A write that may have been done is not sent again."""
        until = time.monotonic() + self.timeout
        pause = 0.01
        while True:
            for address in self.addresses:
                left = until - time.monotonic()
                if left <= 0:
                    raise TimeoutError("no node did it in time; it was not done")
                url = f"{address}/{path}"
                url += ("&" if "?" in url else "?") + f"timeout_ms={min(max(1, int(left * 1000)), 600_000)}"
                data = None if body is None else json.dumps(body).encode()
                try:
                    status, answer = self._send(method, url, data, left + 5)
                except (OSError, http.client.HTTPException) as error:
                    # Only one that listens can have done it; it may die in the middle of its answer.
                    refused = isinstance(getattr(error, "reason", error), ConnectionRefusedError)
                    if not refused and not again:
                        raise OutcomeUnknown(repr(error)) from error
                    continue
                answer, is_json = self._parse(answer)
                if status in (200, 409) and is_json:
                    return status, answer
                why = answer.get("error") if isinstance(answer, dict) else answer
                if status in (408, 503):
                    continue  # Certainly not done: it did not arrive in time, or was refused.
                if 400 <= status < 500 and status != 409:
                    raise ValueError(why)
                if not again:
                    raise OutcomeUnknown(f"status {status}: {why}")
            time.sleep(pause * random.random())
            pause = min(2 * pause, 1.0)

    @staticmethod
    def _path(key: str) -> str:
        if not key:
            raise ValueError("a key cannot be empty")
        return "kvstore/" + urllib.parse.quote(key, safe="")

    @staticmethod
    def _value(text: str) -> Any:
        if not text:
            return None
        try:
            return json.loads(text)
        except json.JSONDecodeError:
            return text

    def entry(self, key: str) -> tuple[Any, int]:
        """The value and the version of a key."""
        _, entry = self._request("GET", self._path(key))
        return self._value(entry["val"]), entry["ver"]

    def put(self, key: str, value: Any, version: int) -> bool:
        """Writes if `version` is greater than the key's. False if it is not."""
        text = "" if value is None else json.dumps(value)
        status, entry = self._request("PUT", self._path(key), {"val": text, "ver": version}, again=False)
        return status == 200

    def update(self, key: str, function: Callable[[Any], Any]) -> Any:
        """Replaces a value by `function` of it, whoever else does the same at the time; returns the new value.

        `function` may be called several times. If `OutcomeUnknown` is raised it was applied once or not at all.
        """
        pause = 0.001
        while True:
            value, version = self.entry(key)
            new = function(value)
            if self.put(key, new, version + 1):
                return new
            time.sleep(pause * random.random())
            pause = min(2 * pause, 0.1)

    def __getitem__(self, key: str) -> Any:
        return self.entry(key)[0]

    def __setitem__(self, key: str, value: Any) -> None:
        self.update(key, lambda _: value)

    def __delitem__(self, key: str) -> None:
        self[key] = None

    def keys(self) -> list[str]:
        """The keys that have a value, in order."""
        return self._request("GET", "kvstore/")[1]

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self.keys())

    def __contains__(self, key: str) -> bool:
        return self[key] is not None

    def values(self) -> Iterator[Any]:
        """The value of each key."""
        return (self[key] for key in self.keys())

    def items(self) -> Iterator[tuple[str, Any]]:
        """Each key with its value."""
        return ((key, self[key]) for key in self.keys())

    def __repr__(self) -> str:
        return repr(dict(self.items()))
