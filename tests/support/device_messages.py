"""INVITEs in the shape that real devices give them, written by hand: names, order, spacing and oddities of each.

Addresses are those of documentation (RFC 5737, RFC 3849), numbers are fictitious.
"""

from __future__ import annotations


def wire(head: str, body: str = "", *, content_length: str = "Content-Length: {}") -> bytes:
    """`head` and `body` with the line ends of SIP and a Content-Length line in the device's own spelling."""
    content = "".join(f"{line}\r\n" for line in body.split("\n") if line).encode()
    lines = [*head.split("\n"), content_length.format(len(content)), "", ""]
    return "\r\n".join(lines).encode() + content


ASTERISK = wire(
    """\
INVITE sip:+4930555010@198.51.100.7:5060 SIP/2.0
Via: SIP/2.0/UDP 198.51.100.20:5060;rport;branch=z9hG4bKPjc1a5f0de-7b1d-4a0c-9c55-3c3b1d2e4f60
From: "Doe, Jane" <sip:+4930555123@198.51.100.20>;tag=6d0f3a5e-9b1c-4c2d-8e7f-1a2b3c4d5e6f
To: <sip:+4930555010@198.51.100.7>
Contact: <sip:asterisk@198.51.100.20:5060>
Call-ID: 0f9e8d7c-6b5a-4938-8271-605f4e3d2c1b
CSeq: 17342 INVITE
Allow: OPTIONS, INVITE, ACK, BYE, CANCEL, UPDATE, PRACK, INFO, NOTIFY, SUBSCRIBE, REGISTER, MESSAGE, REFER
Supported: 100rel, timer, replaces, norefersub, histinfo
Session-Expires: 1800;refresher=uac
Min-SE: 90
P-Asserted-Identity: "Doe, Jane" <sip:+4930555123@198.51.100.20>
Max-Forwards: 70
User-Agent: Asterisk PBX 22.1.0
Content-Type: application/sdp""",
    """\
v=0
o=- 1873492651 1873492651 IN IP4 198.51.100.20
s=Asterisk
c=IN IP4 198.51.100.20
t=0 0
m=audio 14822 RTP/AVP 8 0 9 101
a=rtpmap:8 PCMA/8000
a=rtpmap:0 PCMU/8000
a=rtpmap:9 G722/8000
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-16
a=ptime:20
a=maxptime:140
a=sendrecv""",
    content_length="Content-Length:   {}",
)

KAMAILIO = wire(
    """\
INVITE sip:4930555010@198.51.100.7:5060;transport=udp SIP/2.0
Record-Route: <sip:203.0.113.5;r2=on;lr=on;ftag=as7c1f00aa;did=f8b.2a51;nat=yes>
Record-Route: <sip:198.51.100.5:5070;transport=tcp;r2=on;lr=on;ftag=as7c1f00aa;did=f8b.2a51;nat=yes>
Via: SIP/2.0/UDP 203.0.113.5;branch=z9hG4bK9f1c.0a6c8b7e5d4f3021a1b2c3d4e5f60718.0
Via: SIP/2.0/TCP 192.0.2.44:38122;received=198.51.100.44;rport=38122;branch=z9hG4bK776asdhds;i=1a3
Max-Forwards: 69
From: Front desk <sip:1001@pbx.example.com>;tag=as7c1f00aa
To: <sip:4930555010@pbx.example.com>
Call-ID: 2b7e151628aed2a6abf7158809cf4f3c@192.0.2.44
CSeq: 102 INVITE
Contact: <sip:1001@192.0.2.44:38122;transport=tcp;alias=198.51.100.44~38122~2>
P-hint: inbound->outbound
Content-Type: application/sdp""",
    """\
v=0
o=root 1821405 1821405 IN IP4 192.0.2.44
s=call
c=IN IP4 203.0.113.5
t=0 0
m=audio 30110 RTP/AVP 0 8 96
a=rtpmap:0 PCMU/8000
a=rtpmap:8 PCMA/8000
a=rtpmap:96 telephone-event/8000
a=fmtp:96 0-15
a=sendrecv
a=rtcp:30111
a=nortpproxy:yes""",
)

CISCO = wire(
    """\
INVITE sip:5010@198.51.100.7:5060 SIP/2.0
Via: SIP/2.0/UDP 198.51.100.30:5060;branch=z9hG4bK5a3d1f8e2b
From: "Conference Room 4" <sip:2044@198.51.100.30>;tag=8127364~f1e2d3c4-b5a6-4978-8695-a4b3c2d1e0f9-41238765
To: <sip:5010@198.51.100.7>
Date: Mon, 02 Mar 2026 09:15:31 GMT
Call-ID: 9c2b4e00-6a51f2d3-1b7c-1e6433c6@198.51.100.30
Supported: timer,resource-priority,replaces
Min-SE:  1800
User-Agent: Cisco-CUCM14.0
Allow: INVITE, OPTIONS, INFO, BYE, CANCEL, ACK, PRACK, UPDATE, REFER, SUBSCRIBE, NOTIFY
CSeq: 101 INVITE
Expires: 180
Allow-Events: presence, kpml
Supported: X-cisco-srtp-fallback,X-cisco-original-called
Call-Info: <sip:198.51.100.30:5060>;method="NOTIFY;Event=telephone-event;Duration=500"
Cisco-Guid: 2620083712-1783755475-0000000027-0509883334
Session-Expires:  1800
P-Asserted-Identity: "Conference Room 4" <sip:2044@198.51.100.30>
Remote-Party-ID: "Conference Room 4" <sip:2044@198.51.100.30>;party=calling;screen=yes;privacy=off
Contact: <sip:2044@198.51.100.30:5060>;isFocus;+u.sip!devicename.ccm.cisco.com="SEP001122334455"
Max-Forwards: 69
Content-Type: application/sdp""",
    """\
v=0
o=CiscoSystemsCCM-SIP 4519801 1 IN IP4 198.51.100.30
s=SIP Call
c=IN IP4 198.51.100.31
b=TIAS:64000
b=AS:64
t=0 0
m=audio 24618 RTP/AVP 9 0 8 116 18 101
b=TIAS:64000
a=rtpmap:9 G722/8000
a=rtpmap:0 PCMU/8000
a=rtpmap:8 PCMA/8000
a=rtpmap:116 iLBC/8000
a=fmtp:116 mode=20
a=rtpmap:18 G729/8000
a=fmtp:18 annexb=no
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-15""",
)

YEALINK = wire(
    """\
INVITE sip:5010@pbx.example.com SIP/2.0
Via: SIP/2.0/UDP 192.0.2.61:5060;branch=z9hG4bK1893746521;rport
From: "Reception" <sip:201@pbx.example.com>;tag=2714938847
To: <sip:5010@pbx.example.com>
Call-ID: 0_3582914477@192.0.2.61
CSeq: 1 INVITE
Contact: <sip:201@192.0.2.61:5060>
Content-Type: application/sdp
Allow: INVITE, INFO, PRACK, ACK, BYE, CANCEL, OPTIONS, NOTIFY, REGISTER, SUBSCRIBE, REFER, PUBLISH, UPDATE, MESSAGE
Max-Forwards: 70
User-Agent: Yealink SIP-T46U 108.86.0.20
Supported: replaces
Allow-Events: talk,hold,conference,refer,check-sync""",
    """\
v=0
o=- 20117 20117 IN IP4 192.0.2.61
s=SDP data
c=IN IP4 192.0.2.61
t=0 0
m=audio 11798 RTP/AVP 9 0 8 18 101
a=rtpmap:9 G722/8000
a=rtpmap:0 PCMU/8000
a=rtpmap:8 PCMA/8000
a=rtpmap:18 G729/8000
a=fmtp:18 annexb=no
a=fmtp:101 0-15
a=rtpmap:101 telephone-event/8000
a=ptime:20
a=sendrecv""",
    content_length="Content-Length:  {}",
)

TWILIO = wire(
    """\
INVITE sip:+14155550100@198.51.100.7:5060;transport=udp SIP/2.0
Record-Route: <sip:203.0.113.64:5060;lr;ftag=41906183_6772d868_7b0c5d2e>
CSeq: 1 INVITE
From: <sip:+14155550188@carrier.example;user=phone>;tag=41906183_6772d868_7b0c5d2e
To: <sip:+14155550100@198.51.100.7;user=phone>
Max-Forwards: 62
Diversion: <sip:+14155550111@carrier.example>;reason=unconditional
Call-ID: 5d1c0e9b7a6f4e3d2c1b0a9f8e7d6c5b@0.0.0.0
Via: SIP/2.0/UDP 203.0.113.64:5060;branch=z9hG4bK5b7d.8c2f1a60.0,\
SIP/2.0/UDP 172.16.9.14:5060;rport=5060;received=10.9.8.7;branch=z9hG4bK7b0c5d2e-43b1_c3356d0b_6-2089
Contact: <sip:+14155550188@172.16.9.14:5060;transport=udp>
Allow: INVITE,ACK,CANCEL,OPTIONS,BYE
User-Agent: Twilio Gateway
X-Twilio-AccountSid: AC00000000000000000000000000000000
X-Twilio-CallSid: CA00000000000000000000000000000001
Content-Type: application/sdp""",
    """\
v=0
o=root 1283746190 1283746190 IN IP4 203.0.113.90
s=Media Gateway
c=IN IP4 203.0.113.90
t=0 0
m=audio 18824 RTP/AVP 0 8 101
a=rtpmap:0 PCMU/8000
a=rtpmap:8 PCMA/8000
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-16
a=ptime:20
a=maxptime:20
a=sendrecv""",
)

DEVICE_INVITES: dict[str, bytes] = {
    "asterisk": ASTERISK,
    "kamailio": KAMAILIO,
    "cisco": CISCO,
    "yealink": YEALINK,
    "twilio": TWILIO,
}
