"""Behind nginx with TLS and a path: pages, OHIF, its access to the DICOM server, MONAI Label's client."""

from __future__ import annotations

import datetime
import ipaddress
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from monailabel.client import MONAILabelClient
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from benchmarks.server_process import Server, free_port
from tests.forked import prepare
from tests.options import missing_service
from tests.orthanc import Orthanc, radiograph

CONF = {"image_size": 64, "channels": "[4,8,16]", "instant": False}
SITE = """
{user} daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {folder}/server.crt; ssl_certificate_key {folder}/server.key;
    client_max_body_size 4g;
    location /label/ {{
      proxy_pass {behind}/;
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-Proto $scheme;
    }}
  }}
  include {folder}/deployed.conf;
}}
"""
DEPLOYED = Path(__file__).parents[2] / "deploy" / "nginx.conf"


class Behind(NamedTuple):
    """A server behind nginx below a path, and the same one by the site of `deploy/`.

    :ivar deployed: ports of its pages without and with TLS
    """

    url: str
    certificate: str
    deployed: tuple[int, int]


def deployed_site(folder: Path, behind: str, plain: int, tls: int) -> str:
    """Return the site of `deploy/` with this machine's name, ports, and certificate."""
    text = DEPLOYED.read_text().replace("http://127.0.0.1:8000", behind)
    for former, new in (
        ("label.example.org;", "127.0.0.1;"),
        ("    listen [::]:80;\n", ""),
        ("    listen [::]:443 ssl;\n", ""),
        ("listen 80;", f"listen 127.0.0.1:{plain};"),
        ("listen 443 ssl;", f"listen 127.0.0.1:{tls} ssl;"),
        ("/etc/ssl/certs/label.example.org.pem", f"{folder}/server.crt"),
        ("/etc/ssl/private/label.example.org.key", f"{folder}/server.key"),
        ("https://$host$", f"https://$host:{tls}$"),
    ):
        assert former in text, f"deploy/nginx.conf has no {former!r}"
        text = text.replace(former, new)
    return text


def certify(folder: Path) -> None:
    """Write a certificate for 127.0.0.1 that signs itself, and its key."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    signed = made.add_extension(address, False).sign(key, hashes.SHA256())
    (folder / "server.crt").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    (folder / "server.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


@pytest.fixture(scope="module")
def site(
    request: pytest.FixtureRequest,
    phantoms: Path,
    make_orthanc: Callable[[], Orthanc],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Behind]:
    """A server on two radiographs behind nginx."""
    binary = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin")
    if not binary:
        missing_service(request.config, "no proxy: apt-get install nginx-light")
    folder, orthanc, port = tmp_path_factory.mktemp("nginx"), make_orthanc(), free_port()
    for path in sorted((phantoms / "studies").iterdir())[:2]:
        orthanc.add(radiograph(path.stem, np.asarray(Image.open(path))))
    prepare("cxr_lungs", orthanc.url, folder / "state", CONF)
    conf = CONF | {"state": folder / "state"}
    words = ("--root_path", "/label")
    with Server("cxr_lungs", orthanc.url, conf, folder / "server.log", words=words) as server:
        certify(folder)
        user = "" if os.getuid() else "user root;"  # whose worker may write into the folder
        (folder / "nginx.conf").write_text(
            SITE.format(user=user, folder=folder, port=port, behind=server.url)
        )
        deployed = free_port(), free_port()
        (folder / "deployed.conf").write_text(deployed_site(folder, server.url, *deployed))
        nginx = subprocess.Popen([str(binary), "-c", str(folder / "nginx.conf"), "-p", str(folder)])
        try:
            server.wait()
            _wait_for(port)
            yield Behind(f"https://127.0.0.1:{port}/label", str(folder / "server.crt"), deployed)
        finally:
            nginx.terminate()
            nginx.wait()


def _wait_for(port: int) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    pytest.fail("nginx does not listen")


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 800}, ignore_https_errors=True)
    yield context.new_page()
    context.close()


def test_monai_labels_client_works_through_it(
    site: Behind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, certificate, _ = site
    monkeypatch.setenv("SSL_CERT_FILE", certificate)
    client = MONAILabelClient(url, tmpdir=str(tmp_path), client_id="ann")
    assert client.info()["selection"]["images"] == 2
    image = client.next_sample("auto", {})["id"]
    sent = requests.get(f"{url}/datastore/image", params={"image": image}, verify=certificate, timeout=60)
    (tmp_path / "image.nii.gz").write_bytes(sent.content)
    mask = np.zeros((128, 128), np.uint8)
    mask[20:60, 20:60] = 1
    Image.fromarray(mask).save(tmp_path / "label.png")
    assert client.save_label(image, str(tmp_path / "label.png"))["label"] == image
    studies = requests.get(f"{url}/proxy/dicom/qido/studies", verify=certificate, timeout=60).json()
    assert len(studies) == 2


def test_a_page_of_the_site_may_save_and_its_cookie_is_for_https_only(site: Behind) -> None:
    url, certificate, _ = site
    web, origin = requests.Session(), url.removesuffix("/label")
    web.verify, web.trust_env = certificate, False  # whatever bundle the environment names
    start = web.get(f"{url}/", timeout=60)
    assert start.url == f"{url}/selection/map" and start.status_code == 200
    assert {cookie.secure for cookie in web.cookies} == {True}
    for source, status in ((origin, 200), ("https://evil.example", 403)):
        named = web.post(
            f"{url}/selection/reader", json={"name": "Ann"}, headers={"Origin": source}, timeout=60
        )
        assert named.status_code == status, named.text


def test_the_site_that_is_shipped_serves_by_tls_alone(site: Behind) -> None:
    _, certificate, (plain, tls) = site
    answer = requests.get(f"http://127.0.0.1:{plain}/info/", allow_redirects=False, timeout=60)
    assert answer.status_code == 301
    assert answer.headers["Location"] == f"https://127.0.0.1:{tls}/info/"
    answer = requests.get(answer.headers["Location"], verify=certificate, timeout=60)
    assert answer.json()["selection"]["images"] == 2
    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"


def test_pages_and_ohif_find_their_parts(site: Behind, page: Page) -> None:
    url, *_ = site
    failed: list[str] = []
    page.on("response", lambda answer: failed.append(answer.url) if answer.status >= 400 else None)
    inside = (f"{url}/", "blob:", "data:")  # pictures that the page holds have addresses of its own
    page.on("request", lambda sent: None if sent.url.startswith(inside) else failed.append(sent.url))
    page.goto(f"{url}/selection/map")
    expect(page.locator("#warnings")).to_be_attached()
    page.wait_for_load_state("networkidle")
    assert not failed
    page.goto(f"{url}/ohif/")
    expect(page.get_by_text("Müller").first).to_be_visible(timeout=120_000)
    own = [address for address in failed if address.startswith("https://127.0.0.1")]
    assert not own, "everything that OHIF asks of this server lies below its path"
    cookies = page.evaluate("() => decodeURIComponent(document.cookie)").split("; ")
    assert f"MONAILABEL_SERVER_URL={url}/" in cookies
