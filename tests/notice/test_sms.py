"""SMS gateways of many shapes: what they are asked is checked as they check it, and what they answer as it is meant."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import urllib.parse
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from govsec.errors import ConfigurationError
from govsec.notice.api import DeliveryError, ReceiptState, Reply
from govsec.notice.channels.sms import Sms, messages_count, text_of
from govsec.notice.channels.smsrequest import Message, SmsRequest, check_answer
from govsec.notice.channels.smstemplate import Template
from govsec.notice.post import HttpPoster
from govsec.notice.words import Words, english, visible
from govsec.notifyentry import SmsConfig
from govsec.records import Notice, Severity
from govsec.testing.clock import FakeClock
from tests.notice.far import LOOPBACK, Far, far_side

NOW = datetime(2026, 11, 22, 1, 41, tzinfo=UTC)
PHONE = "13800000000"
HOSTILE = '"},{"x":"</content>&mobile=13999999999\r\nX-Evil: 1 {secret} {{text}} 【某银行】http://evil.example %00=\\'

#: Form fields of Alibaba Cloud's RPC interface: HMAC-SHA1 over the sorted, percent-encoded fields.
ALIYUN: dict[str, Any] = {
    "settings": {"key_id": "testId", "sign_name": "某市大数据局"},
    "secrets": {"key_secret": "/unused"},
    "form": {
        "AccessKeyId": "{key_id}", "Action": "SendSms", "Format": "JSON", "OutId": "{id}", "PhoneNumbers": "{phone}",
        "RegionId": "cn-hangzhou", "SignName": "{sign_name}", "SignatureMethod": "HMAC-SHA1",
        "SignatureNonce": "{nonce}", "SignatureVersion": "1.0", "TemplateCode": "SMS_1",
        "TemplateParam": '{{"text":{text|json}}}', "Timestamp": "{time_utc}", "Version": "2017-05-25",
    },
    "values": [
        {"name": "signature", "how": "sha1", "of": "POST&%2F&{fields|pct}", "key": "{key_secret}&", "form": "base64"}
    ],
    "signed": {"Signature": "{signature}"},
    "answer": {"at": "/Code", "yes": ["OK"], "busy": ["isv.BUSINESS_LIMIT_CONTROL"], "number_at": "/BizId"},
}  # fmt: skip
#: JSON of Tencent Cloud: TC3-HMAC-SHA256, whose keys are the raw bytes of HMACs before.
TENCENT: dict[str, Any] = {
    "settings": {"key_id": "AKIDz8", "host": "sms.tencentcloudapi.com"},
    "secrets": {"key_secret": "/unused"},
    "json": {
        "PhoneNumberSet": ["+86{phone}"], "SmsSdkAppId": "1400000000", "SignName": "某市", "TemplateId": "1",
        "TemplateParamSet": ["{text}"],
    },
    "values": [
        {"name": "hashed", "how": "sha256", "of": "{body}"},
        {
            "name": "request", "how": "sha256",
            "of": "POST\n/\n\ncontent-type:application/json; charset=utf-8\nhost:{host}\n\ncontent-type;host\n{hashed}",
        },
        {"name": "k_date", "how": "sha256", "of": "{date_utc}", "key": "TC3{key_secret}", "form": "raw"},
        {"name": "k_service", "how": "sha256", "of": "sms", "key": "{k_date}", "form": "raw"},
        {"name": "k_signing", "how": "sha256", "of": "tc3_request", "key": "{k_service}", "form": "raw"},
        {
            "name": "signature", "how": "sha256", "key": "{k_signing}",
            "of": "TC3-HMAC-SHA256\n{time_s}\n{date_utc}/sms/tc3_request\n{request}",
        },
    ],
    "headers": {
        "Authorization": "TC3-HMAC-SHA256 Credential={key_id}/{date_utc}/sms/tc3_request, "
        "SignedHeaders=content-type;host, Signature={signature}",
        "X-TC-Action": "SendSms", "X-TC-Timestamp": "{time_s}", "X-TC-Version": "2021-01-11",
    },
    "answer": {
        "at": "/Response/SendStatusSet/0/Code", "yes": ["Ok"], "number_at": "/Response/SendStatusSet/0/SerialNo",
    },
}  # fmt: skip
#: Base64 of JSON with an MD5 over everything, as carriers' cloud gateways take it.
MAS: dict[str, Any] = {
    "settings": {"ec": "某市局", "ap": "app1", "sign": "Sg1"},
    "secrets": {"key_secret": "/unused"},
    "json": {
        "ecName": "{ec}", "apId": "{ap}", "mobiles": "{phone}", "content": "{text}", "sign": "{sign}", "addSerial": "",
        "mac": "{mac}",
    },
    "values": [{"name": "mac", "how": "md5", "of": "{ec}{ap}{key_secret}{phone}{text}{sign}"}],
    "wrap": "base64",
    "answer": {"at": "/rspcod", "yes": ["success"], "number_at": "/msgGroup"},
}  # fmt: skip
#: An old gateway: GET in GBK, an answer of plain text.
OLD: dict[str, Any] = {
    "method": "GET", "charset": "gb18030", "settings": {"user": "gov"}, "secrets": {"key_secret": "/unused"},
    "values": [{"name": "password", "how": "md5", "of": "{user}{key_secret}{time_china}"}],
    "query": {"u": "{user}", "p": "{password|upper}", "t": "{time_china}", "m": "{phone}", "c": "{text}"},
    "answer": {"between": ["", ","], "yes": ["0"], "busy": ["-7"]},
}  # fmt: skip
XML: dict[str, Any] = {
    "secrets": {"key_secret": "/unused"},
    "xml": "<sms><to>{phone}</to><content>{text}</content><sign>{mac}</sign></sms>",
    "values": [{"name": "mac", "how": "sm3", "of": "{phone}{text}", "key": "{key_secret}"}],
    "answer": {"between": ["<code>", "</code>"], "yes": ["0", "200"]},
}
SECRET = "t0p-secret"


def config(shape: dict[str, Any], url: str = "https://sms.example/send", **more: Any) -> SmsConfig:
    return SmsConfig.model_validate({"kind": "sms", "url": url, "recipients": [PHONE], **shape, **more})


def sms(shape: dict[str, Any], far: Far, **more: Any) -> Sms:
    entry, clock = config(shape, f"{far.url}/send", **more), FakeClock(NOW)
    request = SmsRequest("channel sms", entry, {"key_secret": SECRET})
    return Sms("sms", entry.url, entry, request, english, HttpPoster(clock, named=LOOPBACK), clock)


def notice(summary: str = "门户打不开") -> Notice:
    return Notice(
        key="portal|net.scan#1", kind="incident.opened", severity=Severity.HIGH, time=NOW, subject="10.0.0.8",
        summary=summary,
    )  # fmt: skip


@pytest.fixture
def far() -> Iterator[Far]:
    with far_side() as far:
        yield far


def _form(body: bytes) -> dict[str, str]:
    pairs = urllib.parse.parse_qsl(body.decode("ascii"), strict_parsing=True)
    assert len(dict(pairs)) == len(pairs), "a field twice"
    return dict(pairs)


def _percent(text: str) -> str:
    return urllib.parse.quote(text, safe="-_.~")


def _check_aliyun(far: Far) -> str:
    fields = _form(far.asked[-1][2])
    signature = fields.pop("Signature")
    query = "&".join(f"{_percent(key)}={_percent(value)}" for key, value in sorted(fields.items()))
    signed = hmac.digest(f"{SECRET}&".encode(), f"POST&%2F&{_percent(query)}".encode(), hashlib.sha1)
    assert signature == base64.b64encode(signed).decode()
    assert (fields["PhoneNumbers"], fields["Timestamp"]) == (PHONE, "2026-11-22T01:41:00Z")
    assert json.loads(fields["TemplateParam"]).keys() == {"text"}
    return str(json.loads(fields["TemplateParam"])["text"])


def _check_tencent(far: Far) -> str:
    _, headers, body = far.asked[-1]
    assert headers["Content-Type"] == "application/json; charset=utf-8"
    head = "content-type:application/json; charset=utf-8\nhost:sms.tencentcloudapi.com\n\ncontent-type;host\n"
    asked = hashlib.sha256(f"POST\n/\n\n{head}{hashlib.sha256(body).hexdigest()}".encode()).hexdigest()
    key = f"TC3{SECRET}".encode()
    for step in (b"2026-11-22", b"sms", b"tc3_request"):
        key = hmac.digest(key, step, "sha256")
    signed = f"TC3-HMAC-SHA256\n{int(NOW.timestamp())}\n2026-11-22/sms/tc3_request\n{asked}".encode()
    assert headers["Authorization"].endswith(f"Signature={hmac.new(key, signed, 'sha256').hexdigest()}")
    said = json.loads(body)
    assert said["PhoneNumberSet"] == [f"+86{PHONE}"]
    (text,) = said["TemplateParamSet"]
    return str(text)


def _check_mas(far: Far) -> str:
    said = json.loads(base64.b64decode(far.asked[-1][2], validate=True))
    whole = f"{said['ecName']}{said['apId']}{SECRET}{said['mobiles']}{said['content']}{said['sign']}{said['addSerial']}"
    assert said["mac"] == hashlib.md5(whole.encode()).hexdigest()
    assert said["mobiles"] == PHONE
    return str(said["content"])


def _check_old(far: Far) -> str:
    path, _, body = far.asked[-1]
    assert body == b""
    fields = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(path).query, encoding="gb18030", strict_parsing=True))
    assert fields.keys() == {"u", "p", "t", "m", "c"}
    assert fields["p"] == hashlib.md5(f"gov{SECRET}20261122094100".encode()).hexdigest().upper()
    assert fields["m"] == PHONE
    return fields["c"]


def _check_xml(far: Far) -> str:
    root = ElementTree.fromstring(far.asked[-1][2].decode())
    assert [child.tag for child in root] == ["to", "content", "sign"]
    text = root.findtext("content") or ""
    assert root.findtext("sign") == hmac.digest(SECRET.encode(), f"{PHONE}{text}".encode(), "sm3").hex()
    return text


GATEWAYS = {
    "aliyun": (ALIYUN, _check_aliyun, b'{"Code":"OK","BizId":"9006","Message":"OK"}', "9006"),
    "tencent": (
        TENCENT, _check_tencent, b'{"Response":{"SendStatusSet":[{"SerialNo":"5000","Code":"Ok"}]}}', "5000"
    ),
    "mas": (MAS, _check_mas, b'{"msgGroup":"0811","rspcod":"success","success":true}', "0811"),
    "old": (OLD, _check_old, b"0,12345", ""),
    "xml": (XML, _check_xml, b"<r><code>0</code></r>", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", GATEWAYS)
def test_each_gateway_can_check_what_it_is_asked_and_its_yes_is_one(name: str, far: Far) -> None:
    shape, check, far.body, number = GATEWAYS[name]
    receipt = sms(shape, far).send(notice())

    assert (receipt.state, receipt.number, receipt.detail) == (ReceiptState.ACCEPTED, number, "1 SMS")
    assert "门户打不开" in check(far)


@pytest.mark.parametrize("name", GATEWAYS)
def test_hostile_words_stay_one_value_everywhere(name: str, far: Far) -> None:
    shape, check, far.body, _ = GATEWAYS[name]
    sms(shape, far).send(notice(HOSTILE))
    text = check(far)

    assert '"},{"x":"</content>&mobile=13999999999' in text
    assert "{secret}" in text and "{{text}}" in text, "what is put in is no template"
    assert SECRET not in far.asked[-1][2].decode("ascii", "replace")
    assert "【" not in text and "http://" not in text and "\r" not in text
    assert "X-Evil" not in far.asked[-1][1]


def test_a_published_signature_of_alibaba_cloud_comes_out() -> None:
    # From the documentation of its SMS service, "request signature", the example of the RPC style.
    form = {
        "AccessKeyId": "testId", "Action": "SendSms", "Format": "XML", "OutId": "123", "PhoneNumbers": "{phone}",
        "RegionId": "cn-hangzhou", "SignName": "阿里云短信测试专用", "SignatureMethod": "HMAC-SHA1",
        "SignatureNonce": "45e25e9b-0a6f-4070-8c85-2956eda1b466", "SignatureVersion": "1.0",
        "TemplateCode": "SMS_71390007", "TemplateParam": '{{"customer":"test"}}', "Timestamp": "2017-07-12T02:42:19Z",
        "Version": "2017-05-25",
    }  # fmt: skip
    value = {"name": "signature", "how": "sha1", "of": "GET&%2F&{fields|pct}", "key": "testSecret&", "form": "base64"}
    entry = config({"query": form, "method": "GET", "values": [value], "signed": {"Signature": "{signature}"},
                    "answer": {"at": "/Code", "yes": ["OK"]}})  # fmt: skip
    asked = SmsRequest("channel sms", entry, {}).asked(Message("", "15300000001", "", "", NOW))

    assert dict(urllib.parse.parse_qsl(asked.query))["Signature"] == "zJDF+Lrzhj/ThnlvIToysFRq6t4="


@pytest.mark.parametrize(
    ("name", "status", "body", "is_retryable"),
    [
        ("aliyun", 200, b'{"Code":"isv.BUSINESS_LIMIT_CONTROL"}', True),
        ("aliyun", 200, b'{"Code":"isv.AMOUNT_NOT_ENOUGH"}', False),
        ("aliyun", 200, b'{"code":"OK"}', True),
        ("aliyun", 200, b'["OK"]', True),
        ("aliyun", 200, b"", True),
        ("aliyun", 200, b'{"Code":{"OK":"OK"}}', True),
        ("aliyun", 200, b"[" * 60_000, True),
        ("aliyun", 500, b'{"Code":"OK"}', True),
        ("aliyun", 403, b'{"Code":"OK"}', False),
        ("aliyun", 302, b'{"Code":"OK"}', False),
        ("tencent", 200, b'{"Response":{"Error":{"Code":"AuthFailure.SignatureFailure"}}}', True),
        ("tencent", 200, b'{"Response":{"SendStatusSet":[{"Code":"FailedOperation"}]}}', False),
        ("mas", 200, b'{"rspcod":"IllegalMac","success":false}', False),
        ("old", 200, b"-3,no money", False),
        ("old", 200, b"-7,busy", True),
        ("old", 200, b"0", True),
        ("xml", 200, b"<r><code>1</code></r>", False),
        ("xml", 200, b"<html>maintenance</html>", True),
    ],
)
def test_anything_but_a_yes_in_the_body_is_a_no(
    name: str, status: int, body: bytes, is_retryable: bool, far: Far
) -> None:
    shape = GATEWAYS[name][0]
    far.status, far.body, far.headers = status, body, {"Location": "http://evil.example/"}
    with pytest.raises(DeliveryError, match="channel sms") as raised:
        sms(shape, far).send(notice())
    assert raised.value.is_retryable is is_retryable
    assert len(str(raised.value)) < 500 and SECRET not in str(raised.value)
    assert len(far.asked) == 1


def test_long_texts_are_numbered_messages_to_each_and_each_has_one_id_for_all_its_tries(far: Far) -> None:
    shape, _, far.body, _ = GATEWAYS["aliyun"]
    channel = sms(shape, far, recipients=[PHONE, "13900000000"], text_max=60, parts_max=4)
    parts = channel.parts_of(notice("长" * 100))
    for part in parts:
        channel.send_part(notice("长" * 100), part)
        channel.send_part(notice("长" * 100), part)
    asked = [_form(body) for _, _, body in far.asked]

    assert [part.to for part in parts] == [PHONE] * 3 + ["13900000000"] * 3
    assert len({fields["OutId"] for fields in asked}) == len(parts)
    assert len({fields["SignatureNonce"] for fields in asked}) == len(asked)
    texts = [text_of(part.words) for part in parts[:3]]
    assert all(len(text) <= 60 for text in texts)
    assert [text[:5] for text in texts[1:]] == ["(2/3)", "(3/3)"]
    assert sum(text.count("长") for text in texts) == 100


def test_messages_are_counted_as_networks_bill_them() -> None:
    assert [messages_count("长" * length) for length in (1, 70, 71, 134, 135)] == [1, 1, 2, 2, 3]
    assert messages_count("👍" * 36) == 2
    assert text_of(Words("【急】", ("see https://x.example/",))) == "[急] / see https[:]//x.example/"


def test_what_the_charset_has_not_is_told_and_no_retry_helps(far: Far) -> None:
    shape, _, far.body, _ = GATEWAYS["old"]
    channel = sms(shape, far)
    part = channel.parts_of(notice())[0]
    with pytest.raises(DeliveryError, match="characters that gb18030 has not") as raised:
        channel.send_part(notice(), part.model_copy(update={"title": "\udc80"}))
    assert not raised.value.is_retryable


def _value(name: str, of: str) -> dict[str, str]:
    return {"name": name, "how": "md5", "of": of}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"form": {"a": "{nothing}"}}, "no value nothing"),
        ({"form": {"a": "{text"}}, "brace alone"),
        ({"form": {"a": "{text|eval}"}}, "no filter eval"),
        ({"form": {"a": "{text.__class__}"}}, "brace alone"),
        ({"form": {"a": "{0}"}}, "brace alone"),
        ({"form": {"Signature": "{signature}"}}, "needs itself"),
        ({"values": [_value("signature", "{signature}")]}, "needs itself"),
        ({"values": [_value("signature", "{other}"), _value("other", "{signature}")]}, "needs itself"),
        ({"form": {str(number): "{body}" for number in range(9)}}, "needs itself"),
        ({"headers": {"X-Name": "值班"}}, "not plain ASCII"),
        ({"form": {"a": "{key_secret}" * 8_000}}, "longer than"),
    ],
)  # fmt: skip
def test_a_template_that_cannot_be_filled_is_refused_when_it_is_read(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        SmsRequest("channel sms", config({**ALIYUN, **change}), {"key_secret": SECRET})


def test_a_header_never_holds_what_a_host_said(far: Far) -> None:
    shape = {**XML, "headers": {"X-Text": "{text}"}}
    far.body = b"<code>0</code>"
    entry = config(shape, f"{far.url}/send")
    with pytest.raises(ConfigurationError, match="not plain ASCII"):  # the trial has Chinese text, as real ones have
        SmsRequest("channel sms", entry, {"key_secret": SECRET})


@pytest.mark.parametrize(
    "change",
    [
        {"recipients": ["1380000\n0000"]},
        {"recipients": []},
        {"form": None},
        {"method": "GET"},
        {"json": {"a": "b"}},
        {"answer": {"yes": ["0"]}},
        {"answer": {"at": "Code", "yes": ["OK"]}},
        {"headers": {"X Evil": "a"}},
        {"settings": {"key_secret": "twice"}},
        {"charset": "punycode"},
    ],
)
def test_a_gateway_that_cannot_be_meant_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        config({**ALIYUN, **change})


_KEYS = st.sampled_from(["Code", "0", "a", ""])
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.floats(allow_nan=False),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["Code", "0", "a", ""]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.binary(max_size=300) | _JSON.map(lambda value: json.dumps(value).encode()), st.sampled_from(sorted(GATEWAYS)))
def test_whatever_a_gateway_says_is_a_yes_or_a_no(body: bytes, name: str) -> None:
    answer = config(GATEWAYS[name][0]).answer
    try:
        assert isinstance(check_answer("sms", answer, Reply(200, body), "utf-8"), str)
    except DeliveryError as error:
        assert len(str(error)) < 1000


@given(st.text(st.characters(codec="utf-8"), max_size=80), st.sampled_from(["aliyun", "tencent", "mas", "xml"]))
def test_whatever_a_text_holds_it_comes_out_as_it_was(text: str, name: str) -> None:
    request = SmsRequest("channel sms", config(GATEWAYS[name][0]), {"key_secret": SECRET})
    said = visible(text)
    body = request.asked(Message(said, PHONE, "i" * 32, "n" * 32, NOW)).body or b""

    if name == "aliyun":
        got = json.loads(dict(urllib.parse.parse_qsl(body.decode("ascii")))["TemplateParam"])["text"]
    elif name == "tencent":
        got = json.loads(body)["TemplateParamSet"][0]
    elif name == "mas":
        got = json.loads(base64.b64decode(body))["content"]
    else:
        got = ElementTree.fromstring(body.decode()).findtext("content") or ""
        said = said.replace("\ufffe", "").replace("\uffff", "")
    assert got == said


def test_filters_do_what_they_say_and_braces_are_written_twice() -> None:
    template = Template("{{{a|json}}} {a|pct} {a|xml} {a|base64} {a|hex|upper}", "here")

    assert template.render(lambda _: b'"&', "utf-8") == b'{"\\"&"} %22%26 &quot;&amp; IiY= 2226'
