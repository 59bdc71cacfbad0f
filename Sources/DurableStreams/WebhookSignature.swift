import NIOCore

/// How webhook requests are signed. The signing itself is done by whoever holds the key.
package enum WebhookSignature {
    /// The bytes to sign: time and body, joined by a point.
    package static func payload(timestampSeconds: UInt64, body: ByteBuffer) -> ByteBuffer {
        var bytes = ByteBuffer()
        bytes.writeString(String(timestampSeconds))
        bytes.writeStaticString(".")
        bytes.writeImmutableBuffer(body)
        return bytes
    }

    /// The value of `Webhook-Signature`.
    package static func header(timestampSeconds: UInt64, keyID: String, signature: [UInt8]) -> String {
        "t=\(timestampSeconds),kid=\(keyID),ed25519=\(Base64URL.text(signature))"
    }

    /// The identifier of a public key, from the key itself: its thumbprint as a JSON web key.
    ///
    /// - Parameter sha256: the hash function.
    package static func keyID(publicKey: [UInt8], sha256: ([UInt8]) -> [UInt8]) -> String {
        let canonical = "{\"crv\":\"Ed25519\",\"kty\":\"OKP\",\"x\":\"\(Base64URL.text(publicKey))\"}"
        return "ds_" + Base64URL.text(Array(sha256(Array(canonical.utf8)).prefix(16)))
    }

    /// The public keys as a response: the one in use and those that may have signed a moment ago.
    package static func keySet(_ keys: [(id: String, publicKey: [UInt8])]) -> StreamResponse {
        var text = JSONText()
        text.beginObject()
        text.key("keys")
        text.beginArray()
        for key in keys {
            text.beginObject()
            text.member("kty", "OKP")
            text.member("crv", "Ed25519")
            text.member("kid", key.id)
            text.member("use", "sig")
            text.member("alg", "EdDSA")
            text.member("x", Base64URL.text(key.publicKey))
            text.endObject()
        }
        text.endArray()
        text.endObject()
        return StreamResponse(
            status: 200,
            headers: [("Content-Type", "application/jwk-set+json"), ("Cache-Control", "public, max-age=300")],
            body: .bytes(text.bytes))
    }
}

/// Base64 for URLs, without padding.
package enum Base64URL {
    package static func text(_ bytes: [UInt8]) -> String {
        let alphabet: StaticString = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        var output: [UInt8] = []
        output.reserveCapacity((bytes.count + 2) / 3 * 4)
        var bits: UInt32 = 0
        var held: UInt32 = 0
        for byte in bytes {
            bits = bits << 8 | UInt32(byte)
            held += 8
            while held >= 6 {
                held -= 6
                output.append(alphabet.utf8Start[Int(bits >> held & 63)])
            }
        }
        if held > 0 { output.append(alphabet.utf8Start[Int(bits << (6 - held) & 63)]) }
        return String(decoding: output, as: UTF8.self)
    }
}
