"""The sink refuses damaged uploads, and a small run of real clients fills the tables."""

import contextlib
import functools
import json
import os
import pty
import signal
import subprocess
import tempfile
import unittest
import urllib.error
import urllib.request
from pathlib import Path

from ..paths import ROOT
from ..progress import wait_for
from . import faults, plot, scale_report, sink, tenants_report, uploads
from .clients import DESTINATION, LIBRARY, OURS

# https://reveng.sourceforge.io/crc-catalogue/all.htm: the check values of "123456789".
DIGITS = b"123456789"
CRC64NVME, CRC32 = "rosUhgp5mIg=", "y/Q5Jg=="
MD5 = "JfnnlDI7RTiF9RgfG2JNCw=="
WRONG = {CRC64NVME: "rosUhgp5mIk=", CRC32: "y/Q5Jw==", MD5: "JfnnlDI7RTiF9RgfG2JNDA=="}


class SinkTest(unittest.TestCase):
    """Every refusal beside what is accepted."""

    @classmethod
    def setUpClass(cls):
        stack = contextlib.ExitStack()
        cls.addClassCleanup(stack.close)
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        cls.sink = stack.enter_context(sink.running(directory, thorough=True))

    def setUp(self):
        self.sink.ask("reset")

    def ask(self, method, path, body=None, **headers):
        """Status, the error's code or nothing, and the headers; header names are written with underscores."""
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(f"{self.sink.addresses['plain']}/{path}", body, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                self.said = answer.read().decode()
                return answer.status, "", answer.headers
        except urllib.error.HTTPError as error:
            self.said = error.read().decode()
            return error.code, self.said.partition("<Code>")[2].partition("</Code>")[0], error.headers

    def assertAnswer(self, answer, status, code=""):
        self.assertEqual(answer[:2], (status, code), self.said)

    def held(self):
        return {key: (held["size"], held["crc64nvme"]) for key, held in self.sink.stats()["objects"].items()}

    def test_what_has_the_checksum_that_it_is_said_to_have_is_taken_and_nothing_else(self):
        for header, right in {"x_amz_checksum_crc64nvme": CRC64NVME, "x_amz_checksum_crc32": CRC32, "content_md5": MD5}.items():
            with self.subTest(header):
                self.sink.ask("reset")
                self.assertAnswer(self.ask("PUT", "b/k", DIGITS, **{header: WRONG[right]}), 400, "BadDigest")
                self.assertEqual(self.held(), {})
                self.assertAnswer(self.ask("PUT", "b/k", DIGITS, **{header: right}), 200)
                self.assertEqual(self.held(), {"k": (9, CRC64NVME)})

    def test_a_trailer_counts_as_a_header_does(self):
        chunked = {"content_encoding": "aws-chunked", "x_amz_trailer": "x-amz-checksum-crc32", "x_amz_decoded_content_length": "9"}
        chunked["x_amz_content_sha256"] = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"

        def body(checksum):
            return b"4;chunk-signature=0\r\n1234\r\n5\r\n56789\r\n0\r\n" + checksum + b"\r\n"

        for trailer, status, code in (
            (f"x-amz-checksum-crc32:{WRONG[CRC32]}\r\n", 400, "BadDigest"),
            ("", 400, "MalformedTrailerError"),
            (f"x-amz-checksum-crc32:{CRC32}\r\n", 200, ""),
        ):
            self.assertAnswer(self.ask("PUT", "b/k", body(trailer.encode()), **chunked), status, code)
        self.assertEqual(self.held(), {"k": (9, CRC64NVME)})
        short = chunked | {"x_amz_decoded_content_length": "10"}
        self.assertAnswer(self.ask("PUT", "b/k", body(f"x-amz-checksum-crc32:{CRC32}\r\n".encode()), **short), 400, "IncompleteBody")

    def test_the_checksum_of_an_object_in_parts_is_that_of_its_bytes(self):
        def upload(checksum):
            self.assertAnswer(self.ask("POST", "b/k?uploads", b"", x_amz_checksum_algorithm="CRC64NVME"), 200)
            upload_id = self.said.partition("<UploadId>")[2].partition("</UploadId>")[0]
            parts = ""
            for number, part in enumerate((b"1234", b"", b"56789"), 1):
                answer = self.ask("PUT", f"b/k?partNumber={number}&uploadId={upload_id}", part)
                self.assertAnswer(answer, 200)
                parts += f"<Part><PartNumber>{number}</PartNumber><ETag>{answer[2]['ETag']}</ETag></Part>"
            complete = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
            return self.ask("POST", f"b/k?uploadId={upload_id}", complete, x_amz_checksum_crc64nvme=checksum, if_none_match="*")

        self.assertAnswer(upload(WRONG[CRC64NVME]), 400, "BadDigest")
        self.assertAnswer(upload(CRC64NVME), 200)
        self.assertIn(CRC64NVME, self.said)
        self.assertEqual(self.held(), {"k": (9, CRC64NVME)})
        self.assertAnswer(upload(CRC64NVME), 412, "PreconditionFailed")

    def test_a_conditional_put_writes_over_nothing(self):
        self.assertAnswer(self.ask("PUT", "b/k", DIGITS, if_none_match="*"), 200)
        self.assertAnswer(self.ask("PUT", "b/k", b"other", if_none_match="*"), 412, "PreconditionFailed")
        self.assertEqual(self.held(), {"k": (9, CRC64NVME)})
        self.assertAnswer(self.ask("PUT", "b/k", b"other"), 200)
        self.assertNotEqual(self.held(), {"k": (9, CRC64NVME)})

    def test_faults_strike_as_often_as_they_are_told_to(self):
        self.sink.ask("faults", {"k": {"kind": "503", "times": 2}, "damaged": {"kind": "flipped bit", "times": 2}})
        for status, code in ((503, "SlowDown"), (503, "SlowDown"), (200, "")):
            self.assertAnswer(self.ask("PUT", "b/k", DIGITS), status, code)
        self.assertAnswer(self.ask("PUT", "b/damaged", DIGITS, content_md5=MD5), 400, "BadDigest")
        self.assertAnswer(self.ask("PUT", "b/damaged", DIGITS), 200)
        self.assertNotEqual(self.held()["damaged"], (9, CRC64NVME), "without a digest nobody notices")
        self.assertAnswer(self.ask("PUT", "b/damaged", DIGITS), 200)
        self.assertEqual(self.held()["damaged"], (9, CRC64NVME))
        with self.assertRaises(urllib.error.HTTPError):
            self.sink.ask("faults", {"k": {"kind": "no such", "times": 1}})


@functools.cache
def ours():
    """The binary that the unit tests' build has made: another command would build all of it with other features."""
    build = ["cargo", "test", "--quiet", "--locked", "--no-run", "--test", "house", "--message-format=json-render-diagnostics"]
    said = subprocess.run(build, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    made = [made for made in map(json.loads, said.splitlines()) if made.get("executable")]
    return next(Path(one["executable"]) for one in made if one["target"]["name"] == OURS)


class ByHandTest(unittest.TestCase):
    """`recording-uploader --once` as a person or a script meets it."""

    @classmethod
    def setUpClass(cls):
        stack = contextlib.ExitStack()
        cls.addClassCleanup(stack.close)
        cls.directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        cls.sink = stack.enter_context(sink.running(cls.directory))
        cls.destination = cls.directory / "destination.yaml"
        cls.destination.write_text(DESTINATION)

    def setUp(self):
        self.sink.ask("reset")
        self.spool = Path(self.enterContext(tempfile.TemporaryDirectory(dir=self.directory)))
        for name in ("a.wav", "a.json", "deeper/b c.wav", "still.part"):
            file = self.spool / name
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(DIGITS)
            os.utime(file, (0, 0))

    def enterContext(self, context):
        value = context.__enter__()
        self.addCleanup(context.__exit__, None, None, None)
        return value

    def begin(self, *arguments, output=None, **environment):
        secret = {"AWS_ACCESS_KEY_ID": "AKIABENCH", "AWS_SECRET_ACCESS_KEY": "hidden-key", "AWS_EC2_METADATA_DISABLED": "true"}
        elsewhere = {"HOME": str(self.directory), "AWS_ENDPOINT_URL": "http://127.0.0.1:1"}
        arguments = arguments or ("--once", self.spool, "-f", self.destination)
        log = self.enterContext(open(self.directory / "log", "w+"))
        process = subprocess.Popen([ours(), *arguments], env=elsewhere | secret | environment, stdout=output or log, stderr=output or log)
        self.addCleanup(process.kill)
        return process, log.name

    def end(self, begun):
        """Exit code, and all that was said."""
        process, log = begun
        code, said = process.wait(60), Path(log).read_text()
        self.assertNotIn("hidden-key", said)
        self.assertNotRegex(said, "[█░\x1b]", "a bar, or colours, and no terminal")
        return code, said

    def left(self):
        return sorted(str(file.relative_to(self.spool)) for file in self.spool.rglob("*") if file.is_file() and file.name != "lock")

    def test_all_that_is_complete_goes_to_the_endpoint_for_s3_and_a_line_says_so(self):
        code, said = self.end(self.begin(AWS_ENDPOINT_URL_S3=self.sink.addresses["plain"]))
        self.assertEqual(code, 0, said)
        self.assertIn("3 recordings (0.0 MB) uploaded and verified in", said)
        self.assertIn("1 file was left alone", said)
        self.assertEqual(self.left(), ["still.part"])
        self.assertEqual(sorted(self.sink.stats()["objects"]), ["calls/a.json", "calls/a.wav", "calls/deeper/b c.wav"])

    def test_a_bar_on_a_terminal_shows_how_much_of_all_has_come(self):
        # The upload must take longer than the bar takes to appear.
        self.sink.ask("faults", {"calls/a.wav": {"kind": "503", "times": 3}})
        seen, drawn_on = pty.openpty()
        self.addCleanup(os.close, seen)
        process, _ = self.begin(output=drawn_on, TERM="xterm", AWS_ENDPOINT_URL_S3=self.sink.addresses["plain"])
        os.close(drawn_on)
        shown = b""
        # The other side is closed now.
        with contextlib.suppress(OSError):
            while read := os.read(seen, 4096):
                shown += read
        self.assertEqual(process.wait(60), 0, shown)
        self.assertRegex(shown.decode(), r"[█░]{30} \d+ B/27 B .* \d of 3 recordings")
        self.assertIn("3 recordings (0.0 MB) uploaded and verified in", shown.decode())

    def test_over_tls_only_the_authority_in_aws_ca_bundle_is_trusted(self):
        secure = {"AWS_ENDPOINT_URL_S3": self.sink.addresses["tls"]}
        begun = self.begin(**secure)
        wait_for("a failure", lambda: "cannot send a recording" in Path(begun[1]).read_text() or "S3 fails" in Path(begun[1]).read_text(), 60)
        begun[0].send_signal(signal.SIGINT)
        code, said = self.end(begun)
        self.assertEqual(code, 3, said)
        self.assertIn("3 recordings (0.0 MB) are left in", said)
        self.assertEqual(self.sink.stats()["objects"], {})
        code, said = self.end(self.begin(**secure, AWS_CA_BUNDLE=str(self.sink.ca)))
        self.assertEqual((code, self.left()), (0, ["still.part"]), said)

    def test_ended_while_refused_it_says_why_and_goes_on_when_run_again(self):
        plain = {"AWS_ENDPOINT_URL_S3": self.sink.addresses["plain"]}
        self.sink.ask("faults", {f"calls/{name}": {"kind": "403", "times": -1} for name in ("a.wav", "deeper/b c.wav")})
        begun = self.begin(**plain)
        wait_for("the refusal", lambda: "S3 refuses recordings" in Path(begun[1]).read_text(), 60)
        begun[0].terminate()
        code, said = self.end(begun)
        self.assertEqual(code, 3, said)
        self.assertRegex(said, r"3 recordings \(0.0 MB\) are left in .*S3 answered PutObject with 403 AccessDenied")
        self.assertIn("run it again to go on", said)
        self.sink.ask("faults", {})
        self.assertEqual(self.end(self.begin(**plain))[0], 0)

    def test_what_cannot_begin_names_what_is_missing(self):
        nothing = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
        wanted = ("--once", self.spool, "-f", self.destination)
        for code, sentence, arguments, environment in (
            (1, "no AWS credentials", wanted, nothing),
            (1, "AWS_CA_BUNDLE names", wanted, {"AWS_CA_BUNDLE": str(self.destination)}),
            (1, "--once /nowhere", ("--once", "/nowhere", "-f", self.destination), {}),
            (1, "--filename /nowhere", ("--once", self.spool, "-f", "/nowhere"), {}),
            (2, "--filename", ("--once", self.spool), {}),
            (2, "--broker-url", ("--spool", self.spool), {}),
        ):
            with self.subTest(sentence):
                self.assertEqual(self.end(self.begin(*arguments, **environment))[0], code)
                self.assertIn(sentence, Path(self.directory / "log").read_text())
        self.assertEqual(len(self.left()), 4)


class BenchTest(unittest.TestCase):
    """Real clients with very little to do. Their figures are not judged."""

    def test_every_client_but_the_library_moves_every_file_over_both_schemes_and_has_a_row(self):
        works = (uploads.Work("one", 1, 3_000_000), uploads.Work("ten", 10, 2_000))
        # Its build takes minutes.
        tables = uploads.tables(uploads.measure(works, 1, ours(), without=(LIBRARY,)))
        self.assertEqual(len(tables), 2)
        for table in tables:
            head, *rows = table.rows
            self.assertEqual(len(rows), sum(len(work.clients()) - 1 for work in works), table.markdown())
            self.assertTrue(all(len(row) == len(head) for row in rows), table.markdown())
            self.assertIn("| one | s5cmd mv |", table.markdown())

    def test_ours_loses_nothing_where_a_peer_does(self):
        works = (uploads.Work(faults.SMALL.name, len(faults.WITH_SMALL), 2_000),)
        outcomes = faults.measure(works, (OURS, "s5cmd"), ours())
        own, peer = outcomes[OURS], outcomes["s5cmd"]
        self.assertEqual((own.delivered, own.lost, own.unverified, own.written_over), (len(faults.WITH_SMALL), 0, 0, 0), own)
        self.assertTrue(peer.lost and peer.unverified and peer.written_over, peer)
        self.assertIn("| recording-uploader --once | 13 |", faults.table(outcomes).markdown())


class ScaleTest(unittest.TestCase):
    """What the part `scale` makes of its samples; the rest needs a cluster."""

    TEMPLATE = {
        "bucket": "acme-recordings",
        "status": {
            "observedGeneration": 3,
            "accountID": "111111111111",
            "lastHandledRevalidate": "1",
            "uploaders": {"count": 1, "items": []},
            "conditions": [
                {"type": "Ready", "status": "True", "observedGeneration": 3, "lastTransitionTime": "then", "message": "acme-recordings"},
                {"type": "Exclusive", "status": "True", "observedGeneration": 3, "lastTransitionTime": "then", "message": ""},
            ],
            "checks": [{"name": "PutObject", "message": "into acme-recordings"}],
        },
    }

    def test_a_seeded_status_is_of_its_own_destination_and_the_template_stays(self):
        spec = scale_report.spec_of(12)
        before = json.dumps(self.TEMPLATE)
        status = scale_report.seeded_status(self.TEMPLATE, spec, "812", "now")
        self.assertEqual(before, json.dumps(self.TEMPLATE))
        self.assertEqual((status["observedGeneration"], status["externalIDSecretVersion"]), (1, "812"))
        self.assertEqual(status["externalIDSecretRef"], spec["externalIDSecretRef"])
        self.assertEqual(status["accountID"], spec["roleARN"].split(":")[4])
        self.assertEqual({c["lastTransitionTime"] for c in status["conditions"]}, {"now"})
        self.assertEqual(status["checks"][0]["message"], f"into {spec['bucket']}")
        self.assertNotIn("acme-recordings", json.dumps(status))
        self.assertFalse({"uploaders", "lastHandledRevalidate"} & status.keys())

    def test_no_two_destinations_want_the_same(self):
        specs = [scale_report.spec_of(number) for number in range(100)]
        for field in ("bucket", "roleARN"):
            self.assertEqual(len({spec[field] for spec in specs}), 100)
        self.assertEqual(len({scale_report.place_of(number)[0] for number in range(100)}), 10)

    def test_the_digest_of_a_target_is_the_controllers(self):
        # The same in src/domain/verdict/digest.rs.
        spec = {"bucket": "acme-recordings", "prefix": "calls/", "roleARN": "arn:aws:iam::111111111111:role/writer"}
        self.assertEqual(scale_report.target_digest(spec), "0c4c47c938c5743eff186e7b87588670")

    def test_writes_of_statuses_are_those_of_destinations_alone(self):
        metrics = """
apiserver_request_total{code="200",resource="recordingdestinations",subresource="status",verb="APPLY"} 12
apiserver_request_total{code="409",resource="recordingdestinations",subresource="status",verb="PATCH"} 3
apiserver_request_total{code="200",resource="recordingdestinations",subresource="",verb="PATCH"} 100
apiserver_request_total{code="200",resource="recordingdestinations",subresource="status",verb="GET"} 100
apiserver_request_total{code="200",resource="pods",subresource="status",verb="PATCH"} 1e+02
"""
        self.assertEqual(scale_report.status_writes(metrics), 15)
        self.assertEqual(scale_report.status_writes(""), 0)

    def test_memory_is_read_in_mib(self):
        status = "Name:\trecording\nVmHWM:\t  96256 kB\nVmRSS:\t 65536 kB\nRssAnon:\t 32768 kB\n"
        self.assertEqual(scale_report.memory_of(status), (32, 64, 94))

    def test_a_rate_leaves_start_and_end_aside(self):
        samples = [(0, 0), (10, 0), (11, 100), (12, 300), (13, 500), (14, 700), (15, 900), (40, 1000)]
        self.assertEqual(scale_report.rate(samples, 1000), 200)
        self.assertEqual(scale_report.rate([(0, 0), (2, 10)], 10), 5)

    def test_a_suspended_status_is_of_the_generation_that_was_suspended(self):
        found = {"apiVersion": "v", "kind": "k", "metadata": {"name": "acme", "generation": 4}, "status": self.TEMPLATE["status"]}
        status = scale_report.suspended(found)["status"]
        self.assertEqual((status["observedGeneration"], status["conditions"][0]["reason"]), (4, "Suspended"))
        self.assertEqual(status["conditions"][1], self.TEMPLATE["status"]["conditions"][1])

    def test_the_tables_show_what_each_destination_more_costs(self):
        memory = [(1000, "controller", 10, 20, 30), (10_000, "controller", 28, 40, 50), ("10000, after", "controller", 30, 40, 50)]
        table = scale_report.memory_table(memory).markdown()
        self.assertIn("| 10000 | controller | 28.0 | 40.0 | 50.0 | ≤ 64 / ≤ 96 |", table)
        self.assertIn("controller 2.0 KiB", table)
        self.assertIn("| ratio | 0.90 | ≥ 0.8 |", scale_report.figures_table(10_000, [("ratio", "0.90", "≥ 0.8")]).markdown())


class TenantsTest(unittest.TestCase):
    """What the part `tenants` makes of its samples; the rest needs release binaries."""

    def test_a_row_says_whether_the_target_is_met(self):
        Figure = tenants_report.Figure
        for figure, row in (
            (Figure("memory", 57.4, "MiB", 64), ["memory", "57.4 MiB", "≤ 64 MiB", "0.90", "yes"]),
            (Figure("memory", 839.2, "MiB", 256), ["memory", "839 MiB", "≤ 256 MiB", "3.28", "**no**"]),
            (Figure("share", 0.5, "", 0.9, at_least=True), ["share", "0.50", "≥ 0.90", "0.56", "**no**"]),
            (Figure("calls", 0, "", 0), ["calls", "0", "≤ 0", "–", "yes"]),
            (Figure("– ratio", 2.5, "×", 3), ["– ratio", "2.50×", "≤ 3×", "0.83", "yes"]),
            (Figure("p99", 12.3, "ms", None), ["p99", "12.3 ms", "", "", ""]),
        ):
            self.assertEqual(figure.row(), row)

    def test_a_steady_rate_leaves_start_and_end_aside(self):
        times = [0] * 20 + [n / 50 for n in range(1, 161)] + [100] * 20
        self.assertAlmostEqual(tenants_report.steady_rate(times), 50)
        self.assertEqual(tenants_report.steady_rate([]), 0)

    def test_the_most_calls_within_a_second_are_found_wherever_they_are(self):
        self.assertEqual(tenants_report.most_in_a_second([0, 0.5, 5, 5.1, 5.9, 5.99, 6.2]), 4)
        self.assertEqual(tenants_report.most_in_a_second([]), 0)

    def test_each_destination_counts_from_its_first_pod(self):
        started = [{"destination": 1, "seconds": 9}, {"destination": 1, "seconds": 2}, {"destination": 2, "seconds": 4}]
        self.assertEqual(sorted(tenants_report.first_of_each(started)), [2, 4])

    def test_the_picture_has_a_line_for_each_process(self):
        growth = [(size, name, size / 100, 0, 0, 1) for size in (1000, 2000) for name in scale_report.COMPONENTS]
        picture = tenants_report.picture(growth)
        self.assertEqual(picture.count("<polyline"), 3)
        self.assertEqual(plot.lines({"a": [(1, 1), (2, 2)]}, {"a": "red"}, "x < y").count("x &lt; y"), 2)
        self.assertIn("| 1,000 | broker | 10.0 | 0.0 | 0.0 | 1.0 | 10.2 |", tenants_report.growth_table(growth).markdown())
