"""The secret scan finds every encoding of a secret and nothing else, and names the place without the secret."""

import random
import unittest

from .secret_scan import Matcher, _location, planted, is_distinctive

ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=,.@:-_"


def some(number, length, seed=1):
    chance = random.Random(seed)
    return [bytes(chance.choices(ALPHABET, k=length)) for _ in range(number)]


class SecretScanTest(unittest.TestCase):
    def test_a_secret_is_found_in_every_encoding_wherever_it_begins(self):
        for length in (8, 9, 13, 14, 15, 16, 36, 64, 400):
            (value,) = some(1, length)
            matcher = Matcher([("external-id", value)])
            for encoding, text in planted(value):
                for before in range(9):
                    with self.subTest(length=length, encoding=encoding, before=before):
                        self.assertTrue(matcher.found_in(b"x" * before + text))
                        self.assertTrue(matcher.found_in(b"x" * before + text + b"\n"))

    def test_a_part_of_a_secret_is_not_a_finding(self):
        for length in (8, 14, 15, 40):
            (value,) = some(1, length)
            matcher = Matcher([("external-id", value)])
            for text in (value[1:], value[:-1], value.swapcase(), b"x" + value[1:], value[:-1] + b"!", b""):
                with self.subTest(length=length):
                    self.assertFalse(matcher.found_in(text) & {value})

    def test_one_secret_of_fifty_thousand_is_found_in_random_bytes(self):
        values = some(50_000, 40)
        matcher = Matcher([("session-token", value) for value in values])
        noise = b"".join(some(20_000, 100, seed=2))
        self.assertEqual(matcher.found_in(noise), set())
        self.assertEqual(matcher.found_in(noise[:1001] + values[777] + noise), {values[777]})

    def test_a_finding_names_kind_encoding_line_and_file_and_not_the_secret(self):
        value = b"5f0c2f7e-9a41-4a55/8a0e"
        matcher = Matcher([("external-id", value)])
        for text, expected in (
            (b"first\nsecond " + value, "external-id (plain), line 2 of a.log"),
            (b"5f0c2f7e-9a41-4a55%2F8a0e", "external-id (plain, percent-encoded)"),
        ):
            (pattern,) = matcher.found_in(text)
            self.assertEqual(_location(pattern, matcher, {"other.log": b"nothing", "a.log": text}), expected)

    def test_values_that_texts_hold_by_chance_are_left_out(self):
        for value in (b"ab", b"short12", b"123456789012", b"11111111", b"aaaaaaaaaa"):
            self.assertFalse(is_distinctive(value), value)
        for value in (b"0000002a-Test-acme", b"12345678901234567890", b"a" * 1224, b"5f0c2f7e-9a41"):
            self.assertTrue(is_distinctive(value), value)


if __name__ == "__main__":
    unittest.main()
