"""A real S3 server on loopback: SeaweedFS, started with a known pid and ended by it."""

import json
import shutil
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import BotoCoreError, ClientError

from cluster.ports import free_ports

ACCESS_KEY, SECRET_KEY = "test-access-key", "test-secret-key-never-in-a-log"
START_SECONDS = 180
STARTS = 3
PORT_TAKEN = "address already in use"
BUCKET = "tests"


@dataclass
class S3Server:
    """A SeaweedFS whose data outlive its process."""

    folder: Path
    ports: list[int] = field(default_factory=lambda: free_ports(8))
    process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        """URL of the S3 service."""
        return f"http://127.0.0.1:{self.ports[0]}"

    @property
    def environment(self) -> dict[str, str]:
        """Variables that lead any S3 client to this server."""
        return {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.endpoint,
        }

    def make_prefix(self) -> str:
        """A URL that nobody has used; one bucket holds them all, since each costs the server seven volumes."""
        return f"s3://{BUCKET}/{uuid.uuid4().hex[:12]}"

    def start(self) -> None:
        """Start it and wait until it answers; where a port was taken since it was drawn, a first start draws again."""
        starts = STARTS if self.process is None else 1
        for left in reversed(range(starts)):
            self._launch()
            if self._answers():
                return
            log = (self.folder / "log").read_text(errors="replace")[-3000:]
            self.kill()
            if not left or PORT_TAKEN not in log:
                pytest.fail(f"the S3 server did not come up: {log}")
            shutil.rmtree(self.folder)
            self.ports = free_ports(len(self.ports))

    def _launch(self) -> None:
        identity = {
            "identities": [
                {
                    "name": "tests",
                    "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
                    "actions": ["Admin", "Read", "Write", "List", "Tagging"],
                }
            ]
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "s3.json").write_text(json.dumps(identity))
        names = ("s3", "s3.grpc", "master", "master.grpc", "volume", "volume.grpc", "filer", "filer.grpc")
        ports = [
            f"-{name.split('.')[0]}.port{'.grpc' if '.' in name else ''}={port}"
            for name, port in zip(names, self.ports, strict=True)
        ]
        weed = Path(sys.executable).with_name("weed")
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                [
                    *(str(weed), "server", f"-dir={self.folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
                    *("-s3", f"-s3.config={self.folder / 's3.json'}", "-volume.max=50", "-master.volumeSizeLimitMB=64"),
                    # Other services of its own listen on ports of their choice, which two servers cannot share.
                    *("-s3.port.iceberg=0", "-s3.port.lance=0"),
                    # Alone it would wait out an election of ten seconds at each start.
                    *("-master.telemetry=false", "-master.electionTimeout=1s", *ports),
                ],
                stdout=log,
                stderr=log,
            )

    def kill(self) -> None:
        """kill -9, as a power cut would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def client(self) -> "boto3.client":
        """A plain S3 client of its own."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            region_name="us-east-1",
        )

    def _answers(self) -> bool:
        assert self.process is not None
        deadline = time.monotonic() + START_SECONDS
        client = self.client()
        while self.process.poll() is None and time.monotonic() < deadline:
            try:
                # An object written and read: the bucket alone exists before any volume can be written.
                if BUCKET not in {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}:
                    client.create_bucket(Bucket=BUCKET)
                client.put_object(Bucket=BUCKET, Key="ready", Body=b"yes")
                client.get_object(Bucket=BUCKET, Key="ready")
                return True
            except (BotoCoreError, ClientError):
                time.sleep(0.3)
        return False
