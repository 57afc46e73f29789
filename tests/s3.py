"""A real S3 server on loopback that can be made to fail, for tests of a remote storage."""

import logging
from collections.abc import Callable, Iterable
from threading import Thread
from typing import Any
from urllib.parse import quote

import boto3
from moto.core import DEFAULT_ACCOUNT_ID as ACCOUNT
from moto.s3.models import s3_backends
from moto.server import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import BaseWSGIServer, make_server

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    # Or the clients ask a network that is not there for other credentials first.
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""What clients need; must be set before a process makes its first request."""

BUSY = (409, "OperationAborted")
"""An error that passes. The AWS client reports it at once; a 503 or a closed port it first tries for 6 s itself."""

FORBIDDEN = (403, "AccessDenied")


class S3Server:
    """Moto's server in threads of this process; any process of this machine may use it.

    Attributes:
        failure: HTTP status and S3's code that every request is answered with; None for none.
        spared: HTTP methods whose requests are answered all the same.
        requests: method and path of each request that was answered.
    """

    def __init__(self) -> None:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self.failure: tuple[int, str] | None = None
        self.spared: tuple[str, ...] = ()
        self.requests: list[str] = []
        self._app = DomainDispatcherApplication(create_backend_app)
        self._port = 0
        self.start()

    def start(self) -> None:
        """Listens, at the same port as before."""
        self._server: BaseWSGIServer = make_server(
            "127.0.0.1", self._port, self._answer, threaded=True, request_handler=MotoRequestHandler
        )
        self._port = self._server.server_port
        self._thread = Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Refuses connections; the objects stay."""
        self._server.shutdown()
        self._thread.join()

    def make_bucket(self, name: str) -> None:
        """A bucket without objects."""
        self._client().create_bucket(Bucket=name)

    def put(self, bucket: str, key: str, data: bytes) -> None:
        """An object under a name that pyarrow would change."""
        self._client().put_object(Bucket=bucket, Key=key, Body=data)

    def delete(self, bucket: str, key: str) -> None:
        """Takes an object away, whatever `failure` there is: as another program with a good connection does."""
        s3_backends[ACCOUNT]["aws"].delete_object(bucket, key)

    def uri(self, path: str) -> str:
        """The URI by which pyarrow and Ray find `bucket/path`."""
        endpoint = quote(f"http://127.0.0.1:{self._port}", safe="")
        return f"s3://{path}?endpoint_override={endpoint}&region=us-east-1"

    def _client(self) -> Any:
        return boto3.client("s3", endpoint_url=f"http://127.0.0.1:{self._port}", region_name="us-east-1")

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        self.requests.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}")
        if self.failure is None or environ["REQUEST_METHOD"] in self.spared:
            return self._app(environ, start_response)
        status, code = self.failure
        start_response(f"{status} {code}", [("Content-Type", "application/xml")])
        return [f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>as asked for</Message></Error>".encode()]
