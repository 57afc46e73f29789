"""No key and no password is printed, whatever characters it has and wherever the URI stands."""

import string

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from trainable.storage.remote import Remote, StorageError
from trainable.storage.uri import UriParts, unescaped_secret, without_secrets


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("s3://KEY:SECRET@bucket/runs?region=eu-west-1", "s3://bucket/runs?region=eu-west-1"),
        ("s3://KEY:a/b@bucket/runs", "s3://bucket/runs"),
        ("s3://KEY:12/b@bucket/runs", "s3://bucket/runs"),
        ("s3://KEY:p@ss/w0rd@bucket/runs?endpoint_override=localhost:9000", "s3://bucket/runs?endpoint_override=localhost:9000"),
        ("s3://KEY:a?b#c@bucket/runs", "s3://bucket/runs"),
        ("s3://KEY:SECRET/runs", "s3://"),
        ("gs://anonymous@bucket/runs", "gs://anonymous@bucket/runs"),
        ("s3://bucket/runs@home/a:b#1", "s3://bucket/runs@home/a:b#1"),
        ("hdfs://namenode:8020/user/me@home", "hdfs://namenode:8020/user/me@home"),
        ("http://[::1]:9000/a@b", "http://[::1]:9000/a@b"),
        ("abfs://container@account.dfs.core.windows.net/a@b:c", "abfs://container@account.dfs.core.windows.net/a@b:c"),
        ("abfs://container:K/Y==@account.dfs.core.windows.net/a", "abfs://container@account.dfs.core.windows.net/a"),
        ("abfs://:KEY@account.blob.core.windows.net/container", "abfs://account.blob.core.windows.net/container"),
        ("abfs://c@a.x/d?client_secret=KEY&tenant_id=1", "abfs://c@a.x/d?tenant_id=1"),
        ("abfs://c@a.x/d?client%5Fsecret=KEY", "abfs://c@a.x/d"),
        ("https://h/x?X-Amz-Signature=KEY&X-Amz-Credential=KEY&a=b", "https://h/x?a=b"),
        ("abfs://c@a.x/d?credential_kind=anonymous", "abfs://c@a.x/d?credential_kind=anonymous"),
        ("run.py '--storage=s3://KEY:S/T@bucket/r' --name a:b@c", "run.py '--storage=s3://bucket/r' --name a:b@c"),
        ("--storage=s3://KEY:a b'c@bucket/runs", "--storage=s3://bucket/runs"),
        ("Cannot parse URI: 's3://KEY:a/b@bucket/runs' at 10", "Cannot parse URI: 's3://bucket/runs' at 10"),
        ("what of me@home and src/a.py:f, 12:30?", "what of me@home and src/a.py:f, 12:30?"),
    ],
)  # fmt: skip
def test_keys_and_passwords_are_taken_out_and_nothing_else(given, shown):
    assert without_secrets(given) == without_secrets(shown) == shown


ANY = st.text(st.sampled_from(string.ascii_letters + string.digits + "/?#@:+=&%$!;, '\"[]é中"), min_size=1)
ADDRESSES = st.sampled_from(
    ["s3://KEY:{}@bucket/runs", "abfs://container:{}@account.dfs.core.windows.net/runs", "abfs://:{}@account.x/runs"]
)
MARK = "0S3CR3T0"


@given(ADDRESSES, ANY, ANY)
@example("s3://KEY:{}@bucket/runs", "x/@?", "")
@example("s3://KEY:{}@bucket/runs", "1/", "@b")
def test_no_character_of_a_key_lets_it_through(address, before, after):
    uri = address.format(f"{before}{MARK}{after}")
    assume(": " not in uri)
    shown = without_secrets(uri)
    assert MARK not in shown and shown.endswith(uri.rpartition("@")[2])
    assert MARK not in str(Remote(uri)) and MARK not in str(Remote(uri).at("a")) and MARK not in Remote(uri).name


@given(st.sampled_from(["{}", "cannot use '{}'", "a, {}: no", "run.py --storage {} --x"]), ADDRESSES, ANY, ANY)
def test_nor_in_a_text(text, address, before, after):
    secret = f"{before}{MARK}{after}"
    assume(not set(" '\"") & set(secret))
    assert MARK not in without_secrets(text.format(address.format(secret)))


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_what_is_shown_has_nothing_more_to_take_out(text):
    for uri in (text, f"s3://{text}", f"abfs://a:{text}"):
        assert without_secrets(without_secrets(uri)) == without_secrets(uri)


@given(st.text(string.ascii_letters + string.digits + "._-@:/#%", max_size=30))
def test_the_parts_make_up_the_uri(rest):
    parts = UriParts.of(f"s3://{rest}?region=x")
    assert f"s3://{parts.credentials}{parts.host}{parts.path}{parts.query}" == f"s3://{rest}?region=x"


@pytest.mark.parametrize("secret", ["a/b", "1/b", "a@b", "p@ss/w0rd", "a?b", "a#b", "a b", "[a"])
def test_a_key_that_is_not_escaped_is_refused_at_once_and_not_shown(secret):
    with pytest.raises(StorageError) as refused:
        Remote(f"s3://KEY:{secret}@bucket/runs").read("file")
    assert str(refused.value).startswith("s3://bucket/runs/file: in a URI, a key or password has %2F for /")
    assert f"{secret}@" not in str(refused.value)


@pytest.mark.parametrize(
    "uri", ["s3://KEY:a%2Fb@bucket/runs", "s3://bucket/a@b", "gs://anonymous@bucket/a@b", "hdfs://h:1/a@b"]
)
def test_a_uri_that_can_be_read_is_not_refused(uri):
    assert unescaped_secret(uri) is None
