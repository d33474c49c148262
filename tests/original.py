"""Sends what the Python client of the Go original sends, byte for byte but for the name of the user agent, and acts on the answers as it does.

The original has no licence, so its client is not copied here: this says the same to a node, over the standard library.
"""

import http.client
import json
import random
import sys
import time


class HTTPError(Exception):
    pass


class OriginalStore:
    """Its `KVStore`: a path is the key as it is, a body is JSON without a content type, any status from 400 on is an error."""

    def __init__(self, address: str):
        self.address = address

    def send(self, method: str, path: str, body=None) -> str:
        connection = http.client.HTTPConnection(self.address, timeout=30)
        headers = {"User-Agent": "python-requests/2", "Accept-Encoding": "gzip, deflate", "Accept": "*/*", "Connection": "keep-alive"}
        connection.request(method, "/" + path, body=body, headers=headers)
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        if response.status >= 400:
            raise HTTPError(response.status)
        return text

    def get(self, key: str) -> dict:
        entry = json.loads(self.send("GET", f"kvstore/{key}"))
        # Its model has these fields and types, and refuses anything else.
        assert isinstance(entry["key"], str) and isinstance(entry["val"], str) and isinstance(entry["ver"], int), entry
        return entry

    def set(self, key: str, val: str, ver: int) -> None:
        self.send("PUT", f"kvstore/{key}", json.dumps({"val": val, "ver": ver}))

    def keys(self) -> list:
        return json.loads(self.send("GET", "kvstore/"))


class OriginalDict:
    """Its `KVStoreDict`: reads the version, writes the next one, and tries again after an error."""

    def __init__(self, address: str):
        self.store = OriginalStore(address)

    def __getitem__(self, key: str):
        val = self.store.get(key)["val"]
        return json.loads(val) if val else None

    def __setitem__(self, key: str, value) -> None:
        val = "" if value is None else json.dumps(value)
        wait = 0.001
        while True:
            try:
                return self.store.set(key, val, self.store.get(key)["ver"] + 1)
            except HTTPError:
                time.sleep(wait * random.random())
                wait *= 2

    def __delitem__(self, key: str) -> None:
        self[key] = None

    def items(self):
        return [(key, self[key]) for key in self.store.keys()]


stores = [OriginalDict(address) for address in sys.argv[1:]]
values = {"number": 1, "text": "a \" b", "list": [1, None, {"x": "é"}], "true": True}
for index, (name, value) in enumerate(values.items()):
    stores[index % len(stores)][name] = value
for store in stores:
    assert dict(store.items()) == values, store.items()
    assert store["absent"] is None
stores[0]["number"] = 2
assert stores[1]["number"] == 2
del stores[2]["list"]
assert stores[0]["list"] is None
assert stores[1].store.keys() == ["number", "text", "true"], stores[1].store.keys()
print("done")
