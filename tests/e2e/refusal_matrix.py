"""Who is let in, and what is said to everybody else: each refusal of a handshake, a call or an enrolment has words of its own for whoever
is refused, a count in the metrics and, where it says something of a person, a line or a record. docs/reference/refusals.md has all."""

import base64
import datetime
import gzip
import json
import re
import shutil
import socket
import ssl
import subprocess
import unittest
import urllib.request

import harness
import hostile_http2 as http2

OPEN = "/tributary.v1.SessionService/Open"
UPLOAD = "/tributary.v1.TransferService/Upload"
LIST_RUNS = "/tributary.v1.AdminService/ListRuns"
ENROL = "/tributary.v1.EnrolmentService/Enrol"
INVALID_ARGUMENT, PERMISSION_DENIED, UNIMPLEMENTED, UNAUTHENTICATED = 3, 7, 12, 16
MOST_BYTES_MORE = 16 << 20
PATIENCE = 60


def run_openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


def fields(*values):
    """A protobuf message of these fields, numbered from 1: bytes or text each; empty ones are left out."""
    encoded = b""
    for number, value in enumerate(values, 1):
        value = value.encode() if isinstance(value, str) else value
        if value:
            length = bytes([len(value) & 127 | 128, len(value) >> 7]) if len(value) > 127 else bytes([len(value)])
            encoded += bytes([number << 3 | 2]) + length + value
    return encoded


class Authority:
    """Issues certificates with plain openssl, also such as `tributary pki` would not issue."""

    def __init__(self, folder, pki):
        self.folder = folder
        self.pki = pki
        folder.mkdir()
        (folder / "index").touch()
        (folder / "authority.cnf").write_text(
            f"[ca]\ndefault_ca=it\n[it]\ndatabase={folder}/index\nnew_certs_dir={folder}\nrand_serial=yes\ndefault_md=sha256\npolicy=any\n"
            "unique_subject=no\n[any]\ncommonName=supplied\n", encoding="utf-8")

    def request(self, name):
        """A key and a request for a certificate over it."""
        run_openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={name}",
                    "-keyout", self.folder / f"{name}.key", "-out", self.folder / f"{name}.csr")
        return self.folder / f"{name}.csr"

    def issue(self, name, *uris, usage="clientAuth", begins=-2, ends=2):
        """The paths of CA, certificate and key. `begins` and `ends` are days from now."""
        self.request(name)
        extensions = self.folder / f"{name}.ext"
        names = f"subjectAltName={','.join(f'URI:{uri}' for uri in uris)}\n" if uris else ""
        extensions.write_text(f"{names}extendedKeyUsage={usage}\n", encoding="utf-8")
        now = datetime.datetime.now(datetime.timezone.utc)
        begin, end = ((now + datetime.timedelta(days=days)).strftime("%Y%m%d%H%M%SZ") for days in (begins, ends))
        run_openssl("ca", "-batch", "-notext", "-config", self.folder / "authority.cnf", "-cert", self.pki / "ca.crt",
                    "-keyfile", self.pki / "ca.key", "-in", self.folder / f"{name}.csr", "-out", self.folder / f"{name}.crt",
                    "-startdate", begin, "-enddate", end, "-extfile", extensions)
        return [self.pki / "ca.crt", self.folder / f"{name}.crt", self.folder / f"{name}.key"]


@unittest.skipUnless(shutil.which("openssl"), "needs the program openssl, to make certificates that are not good")
class RefusalMatrix(harness.FederationTest):
    def setUp(self):
        super().setUp()
        parties = self.parties = self.make("alpha", "gamma", "delta")
        parties.tool("pki", "issue", parties.pki, "--site", "mallory")
        parties.write_coordinator_config(
            enrol_listen="127.0.0.1:0",
            enrolment={"ca_certificate": str(parties.pki / "ca.crt"), "ca_key": str(parties.pki / "ca.key"), "lifetime": "24h"})
        parties.coordinator_flags = ()
        self.coordinator = parties.start_coordinator()
        self.addCleanup(self.coordinator.kill)  # it would wait for the round of a worker that is gone
        parties.write_operator_config()
        endpoints = parties.endpoints()
        self.port, self.enrolment = (int(endpoints[name].rsplit(":", 1)[1]) for name in ("listen", "enrolment"))
        self.metrics_page = f"http://{endpoints['metrics']}/metrics"
        parties.write_worker_config("alpha", parties.directory / "data" / "alpha")
        parties.start_worker("alpha")
        self.submit(parties, rounds=1_000_000)
        self.authority = Authority(parties.directory / "authority", parties.pki)
        parties.wait_for_round(harness.RUN, 20, PATIENCE)

    def tls(self, stem):
        pki = self.parties.pki
        return [pki / "ca.crt", pki / f"{stem}.crt", pki / f"{stem}.key"]

    def metric(self, name, reason=None):
        with urllib.request.urlopen(self.metrics_page, timeout=PATIENCE) as page:
            text = page.read().decode()
        label = "" if reason is None else f'{{reason="{reason}"}}'
        return float(re.search(f"^{name}{re.escape(label)} (\\S+)$", text, re.MULTILINE)[1])

    def counted(self, name, reason, before, more=1):
        """The count is as it was before and so many more; the peer may know before it is counted."""
        harness.federation.wait_until(lambda: self.metric(name, reason) >= before + more, PATIENCE, f"{name} to count it as {reason}")
        self.assertEqual(self.metric(name, reason), before + more)

    def handshake(self, certificate=None, protocol=None, alpn="h2"):
        """What a client is told that the coordinator ends the handshake with."""
        context = ssl.create_default_context(cafile=self.parties.pki / "ca.crt")
        if certificate is not None:
            context.load_cert_chain(*certificate[1:])
        if protocol is not None:
            context.maximum_version = protocol
        context.set_alpn_protocols([alpn])
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as plain:
                with context.wrap_socket(plain, server_hostname="127.0.0.1") as client:
                    return f"let in: {client.recv(1)}"
        except OSError as error:
            return (getattr(error, "reason", None) or str(error)).lower().replace("_", " ")  # by Python's version

    def refuse_handshakes(self):
        issue = self.authority.issue
        alpha = "spiffe://e2e/site/alpha"
        other = harness.federation.Federation(self.folder / "other", harness.BINARIES, ["alpha"], name="e2e")
        other.make_pki()
        of_other = [other.pki / "ca.crt", other.pki / "site-alpha.crt", other.pki / "site-alpha.key"]
        # Told to the client; said in the log, whose lines of one kind are bounded; and how.
        cases = {
            "no certificate": ("certificate required", "peer did not return a certificate", {}),
            "of another CA": ("unknown ca", "unable to get local issuer certificate", {"certificate": of_other}),
            "expired": ("certificate expired", "certificate has expired", {"certificate": issue("expired", alpha, begins=-3, ends=-1)}),
            "not yet valid": ("bad certificate", "certificate is not yet valid", {"certificate": issue("early", alpha, begins=1)}),
            "a server's": ("unsupported certificate", "certificate purpose", {"certificate": issue("server", alpha, usage="serverAuth")}),
            "TLS 1.2": ("protocol version", "unsupported protocol",
                        {"certificate": self.tls("site-alpha"), "protocol": ssl.TLSVersion.TLSv1_2}),
            "HTTP/1.1": ("no application protocol", None, {"certificate": self.tls("site-alpha"), "alpn": "http/1.1"}),
        }
        for name, (alert, line, how) in cases.items():
            with self.subTest(f"a handshake: {name}"):
                before = self.metric("tributary_connections_refused_total", "handshake")
                self.assertIn(alert, self.handshake(**how))
                self.counted("tributary_connections_refused_total", "handshake", before)
                if line is not None:
                    self.await_log(self.coordinator, line)
        with self.subTest("no handshake at all"):
            before = self.metric("tributary_connections_refused_total", "handshake")
            with http2.connect(self.port) as client:
                client.sendall(http2.PREFACE)
                self.assertTrue(http2.is_cut(client))
            self.counted("tributary_connections_refused_total", "handshake", before)

    def refuse_call(self, name, certificate, method, status, words, reason, *headers):
        with self.subTest(f"a call: {name}"):
            before = self.metric("tributary_calls_refused_total", reason)
            with http2.connect(self.port, certificate) as client:
                told = http2.call(client, method, http2.message(b""), *headers)
            self.assertEqual(told[0], status, told)
            self.assertIn(words, told[1])
            self.counted("tributary_calls_refused_total", reason, before)
            self.await_log(self.coordinator, words)

    def refuse_callers(self):
        issue = self.authority.issue
        alpha, beta = "spiffe://e2e/site/alpha", "spiffe://e2e/site/beta"
        mallory = self.tls("site-mallory")
        self.refuse_call("without a name", issue("nameless"), OPEN, UNAUTHENTICATED, "has 0 SPIFFE ids", "identity")
        self.refuse_call("with two names", issue("two", alpha, beta), OPEN, UNAUTHENTICATED, "has 2 SPIFFE ids", "identity")
        self.refuse_call("of another federation", issue("foreign", "spiffe://other/site/alpha"), OPEN, UNAUTHENTICATED,
                         "spiffe://other/site/alpha does not belong to federation e2e", "identity")
        self.refuse_call("off the list", mallory, OPEN, PERMISSION_DENIED,
                         "spiffe://e2e/site/mallory is not in the coordinator's registry", "list")
        self.refuse_call("off the list, with another's name besides", mallory, OPEN, PERMISSION_DENIED,
                         "spiffe://e2e/site/mallory is not in the coordinator's registry", "list", ("x-tributary-insecure-identity", alpha))
        self.refuse_call("of an operator, as a site", self.tls("operator-admin"), OPEN, PERMISSION_DENIED, "needs a certificate of a site",
                         "role")
        self.refuse_call("of a site, as an operator", self.tls("site-delta"), LIST_RUNS, PERMISSION_DENIED,
                         "a certificate of an operator or an auditor", "role")
        self.refuse_call("of a coordinator", self.tls("coordinator"), UPLOAD, PERMISSION_DENIED,
                         "a certificate of a site or an operator", "role")

    def refuse_who_was_revoked(self):
        context = ssl.create_default_context(cafile=self.parties.pki / "ca.crt")
        context.load_cert_chain(*self.tls("site-gamma")[1:])
        context.set_alpn_protocols(["h2"])

        def connect(session=None):
            plain = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)
            client = context.wrap_socket(plain, server_hostname="127.0.0.1", session=session)
            client.sendall(http2.PREFACE + http2.frame(http2.SETTINGS, b""))
            return client

        before = connect()
        before.recv(9)  # what TLS itself had to say has come with it
        self.parties.operator("site", "revoke", "gamma", "--reason", "the laptop was stolen")
        with self.subTest("what a revoked site has open is cut"):
            self.assertTrue(http2.is_cut(before))
        with self.subTest("a revoked site with a TLS session from before"), connect(before.session) as again:
            counted = self.metric("tributary_calls_refused_total", "list")
            self.assertFalse(again.session_reused)
            told = http2.call(again, OPEN, http2.message(b""))
            self.assertEqual(told, (PERMISSION_DENIED, "site gamma was revoked by an operator of the federation"))
            self.counted("tributary_calls_refused_total", "list", counted)
        before.close()

    def refuse_messages(self):
        bomb = gzip.compress(bytes(8 << 20))
        cases = {
            "a compressed one": (UPLOAD, http2.message(bomb, compressed=1), UNIMPLEMENTED, "gzip", ("grpc-encoding", "gzip")),
            "one that is something else": (OPEN, http2.message(b"\xff\xff\xff"), INVALID_ARGUMENT, "something other than a WorkerMessage"),
        }
        for name, (method, body, status, words, *headers) in cases.items():
            with self.subTest(f"a member's message: {name}"), http2.connect(self.port, self.tls("site-delta")) as client:
                told = http2.call(client, method, body, *headers)
                self.assertEqual(told[0], status, told)
                self.assertIn(words, told[1])

    def enrol(self, secret, site, request):
        with http2.connect(self.enrolment, [self.parties.pki / "ca.crt"]) as client:
            return http2.call(client, ENROL, http2.message(fields(secret, site, request)))

    def refuse_enrolments(self):
        parties = self.parties
        parties.operator("site", "add", "epsilon")
        token = parties.operator("site", "token", "epsilon")["token"]
        secret = base64.urlsafe_b64decode(token.removeprefix("tributary-") + "==")[:32]
        first, second, third = (self.authority.request(name).read_text(encoding="ascii") for name in ("first", "second", "third"))
        used = "the token was used already, with another key"
        cases = {
            "a token that nobody made": (bytes(32), "", first, PERMISSION_DENIED, "the token is not known here"),
            "a token of another site": (secret, "alpha", first, PERMISSION_DENIED, "the token is for another site"),
            "something other than a request": (secret, "epsilon", "hello", INVALID_ARGUMENT, "request"),
            "the site itself": (secret, "epsilon", first, 0, ""),
            "a thief with its token": (secret, "epsilon", second, PERMISSION_DENIED, used),
            "the thief again": (secret, "epsilon", third, PERMISSION_DENIED, used),
        }
        for name, (shown, site, request, status, words) in cases.items():
            with self.subTest(f"an enrolment: {name}"):
                before = self.metric("tributary_calls_refused_total", "enrolment")
                told = self.enrol(shown, site, request)
                self.assertEqual(told[0], status, told)
                self.assertIn(words, told[1])
                self.counted("tributary_calls_refused_total", "enrolment", before, more=0 if status == 0 else 1)
                self.assertNotIn(token, self.coordinator.log_text())

    def test_everybody_else_is_told_why_counted_and_recorded(self):
        memory = self.metric("tributary_memory_resident_bytes")
        self.refuse_handshakes()
        self.refuse_callers()
        self.refuse_who_was_revoked()
        self.refuse_messages()
        self.refuse_enrolments()
        with self.subTest("what is recorded for good"):
            export = self.parties.directory / "log.jsonl"
            self.parties.tool("--config", self.parties.directory / "operator.yaml", "audit", "export", "-o", export)
            said = [json.loads(line)["says"] for line in export.read_text(encoding="utf-8").splitlines()[1:]]
            for words in ("gamma", "the laptop was stolen"), ("epsilon", "token refused"):
                self.assertEqual(sum(all(word in json.dumps(record) for word in words) for record in said), 1, words)
        with self.subTest("rounds go on, in the memory that they had"):
            self.parties.wait_for_round(harness.RUN, int(self.parties.status(harness.RUN)["round"]) + 20, PATIENCE)
            self.assertLess(self.metric("tributary_memory_resident_bytes") - memory, MOST_BYTES_MORE)
            self.parties.check_alive()


if __name__ == "__main__":
    harness.main()
