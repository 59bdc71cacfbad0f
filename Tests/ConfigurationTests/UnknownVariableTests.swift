import Testing

@testable import Configuration

struct UnknownVariableTests {
    typealias Streams = StreamEnvironments

    @Test(arguments: [
        ("DS_RETENTION__NOPE", "Known are DS_RETENTION__MAX_AGE_SECS, DS_RETENTION__MAX_BYTES, DS_RETENTION__PREFIXES"),
        ("DS_RETENTION__MAXBYTES", "Did you mean DS_RETENTION__MAX_BYTES?"),
        // The section is what was mistyped.
        ("DS_RETENSION__MAX_BYTES", "Did you mean DS_RETENTION__MAX_BYTES?"),
        // Older names may be meant, and are not listed.
        ("DS_TLS__CERT_PTH", "Did you mean DS_TLS__CERT_PATH?"),
        (
            "DS_OBSERVABILITY__TRACES__URL",
            "Known are DS_OBSERVABILITY__LOG_FORMAT, DS_OBSERVABILITY__REQUEST_LOG, DS_OBSERVABILITY__RUST_LOG"
        ),
        ("PENSTOCK_MIRROR_BATCHSIZE", "Did you mean PENSTOCK_MIRROR_BATCH_SIZE?"),
        (
            "DS_ELSEWHERE__NOPE",
            "Known are DS_ADMIN__…, DS_AUTH__…, DS_HTTP__…, DS_LIMITS__…, DS_OBSERVABILITY__…, DS_PROXY__…, "
                + "DS_RETENTION__…, DS_SERVER__…, DS_STORAGE__…, DS_TRANSPORT__…"
        ),
    ])
    func unknownVariablesAreToldWithANearNameOrThoseOfTheirSection(_ name: String, _ hint: String) throws {
        #expect(try Streams.load([name: "1"]).warnings.contains("\(name) is not known and has no effect. \(hint)"))
    }
}
