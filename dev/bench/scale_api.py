"""A plain client of the API server: one connection a thread, kept open, as the simplest client has it."""

import base64
import http.client
import json
import ssl
import tempfile
import threading
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ..progress import Failure

SECONDS = 60
JSON, MERGE, APPLY = "application/json", "application/merge-patch+json", "application/apply-patch+yaml"


class Api:
    def __init__(self, kube):
        """As the user of a `Kube`'s kubeconfig."""
        config = json.loads(kube.must("config", "view", "--raw", "--minify", "--flatten", "--output", "json"))
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self._server = urllib.parse.urlsplit(cluster["server"])
        self._tls = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
        with tempfile.TemporaryDirectory() as directory:
            files = [Path(directory) / name for name in ("certificate", "key")]
            for file, field in zip(files, ("client-certificate-data", "client-key-data"), strict=True):
                file.write_bytes(base64.b64decode(user[field]))
            self._tls.load_cert_chain(*files)
        self._mine = threading.local()

    def call(self, method, path, body=None, kind=JSON, user=None):
        """The answer's document. `user` is a service account that is impersonated, NAMESPACE:NAME."""
        status, text = self._send(method, path, body, kind, user)
        if status >= 300:
            raise Failure(f"{method} {path}: HTTP {status}: {text[:500].decode(errors='replace')}")
        return json.loads(text) if text else {}

    def text(self, path):
        status, text = self._send("GET", path, None, JSON, None)
        if status >= 300:
            raise Failure(f"GET {path}: HTTP {status}")
        return text.decode()

    def _send(self, method, path, body, kind, user):
        headers = {"Content-Type": kind, "Accept": "*/*"}
        if user:
            namespace, _, _ = user.partition(":")
            headers["Impersonate-User"] = f"system:serviceaccount:{user}"
            headers["Impersonate-Group"] = f"system:serviceaccounts:{namespace}"
        text = None if body is None else json.dumps(body)
        for is_last in (False, True):
            connection = getattr(self._mine, "connection", None) or self._connect()
            self._mine.connection = connection
            try:
                connection.request(method, path, text, headers)
                answer = connection.getresponse()
                return answer.status, answer.read()
            except (http.client.HTTPException, OSError):
                # The server closes idle connections.
                connection.close()
                self._mine.connection = None
                if is_last:
                    raise

    def watch(self, path, since, seconds):
        """Events after that resourceVersion, until the server ends the call."""
        connection = self._connect(seconds + SECONDS)
        connection.request("GET", f"{path}?watch=true&resourceVersion={since}&timeoutSeconds={seconds}")
        answer = connection.getresponse()
        if answer.status >= 300:
            raise Failure(f"watch {path}: HTTP {answer.status}")
        with connection:
            for line in answer:
                yield json.loads(line)

    def _connect(self, seconds=SECONDS):
        class Closing(http.client.HTTPSConnection):
            def __enter__(self):
                return self

            def __exit__(self, *_):
                self.close()

        return Closing(self._server.hostname, self._server.port, timeout=seconds, context=self._tls)


def each(threads, work, items):
    """Does the work for all items, so many at a time, and returns the results in order."""
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, items))
