"""The encrypted, attested channel between a client and an enclave: bytes in, events out, no sockets.

Importing the package loads no cryptography; each part is imported by its own name.

==================  ================================================================================
``framing``         2-byte length framing, all that a relay may import
``errors``          ``ProtocolError`` > ``LocalError`` (you broke it), ``RemoteError`` (they broke it)
``session``         ``ClientSession``, ``EnclaveSession``: ``receive_data(bytes) -> list[Event]``,
                    ``receive_eof()``, ``send_...()``, ``data_to_send() -> bytes``
``events``          what ``receive_data`` returns
``messages``        requests, replies, ``Value``, ``ErrorCode``: each declared once
``states``          where a session is, and what may pass then
``policy``          ``Policy.from_toml`` and ``verify_evidence``
``evidence``        Keystone's report in its three forms, our claims in it, its signatures
``monitor_keys``    what a security monitor does: keys, attestation, sealing keys
``measurement``     the enclave hash of an installed release
``connection``      what a client sends and receives, step by step, without a socket
``transport``       ``ClientConnection``, which blocks, and how either end waits for bytes
``transport_aio``   ``AsyncClientConnection``
``layouts``         the byte layouts beside those of messages, declared once
``extensions``      whether an extension was built from the sources beside it
``extra``           what the commands say where their packages are not installed
``release``         the installed version, which commands print
``handshake``, ``noise``, ``records``, ``ed25519_sha3``, ``primitives``   the layers below
==================  ================================================================================

A client::

    session = ClientSession(policy)                     # data_to_send() holds prologue and `e`
    for event in session.receive_data(received):        # EnclaveVerified: now requests may go out
        ...
    number = session.send_request(CallRequest("main", "add", (Value.i32(1), Value.i32(2))))
    send(session.data_to_send())                        # later: ReplyReceived(number, reply)

An enclave::

    session = EnclaveSession(EnclaveClaims(configuration_digest, (1, 0, 0), isolation))
    # EvidenceRequired(data): let the monitor sign it, then session.send_evidence(report)
    # RequestReceived(number, request): session.send_reply(number, CallResult(...) or ErrorReply(...))

``data_to_send()`` must be emptied after every call of either kind: received credit releases queued chunks.
After any exception from ``receive_data`` or ``receive_eof`` the session is dead and its keys are erased.
"""
