import DurableStreams
import Testing

@Suite("Codings of bodies")
struct ContentCodingTests {
    @Test(arguments: [
        (nil, nil, false), ("", nil, false), ("gzip", .gzip, false), ("GZIP", .gzip, false), ("x-gzip", .gzip, false),
        ("deflate", .deflate, false), ("deflate, gzip", .gzip, false), ("gzip;q=0.5, deflate", .deflate, false),
        ("br, zstd", nil, false), ("gzip, deflate, br, zstd", .gzip, false), ("*", .gzip, false), ("*;q=0", nil, true),
        ("gzip;q=0, *", .deflate, false), ("gzip;q=0", nil, false), ("gzip; q=0.000", nil, false),
        ("identity", nil, false), ("identity, gzip;q=0.9", nil, false), ("identity;q=0.5, gzip ;\tq=0.8", .gzip, false),
        ("identity;q=0.8, gzip;q=0.8", .gzip, false), ("identity;q=0", nil, true), ("identity;q=0, gzip", .gzip, true),
        ("identity;q=0.1, *;q=0", nil, false), ("gzip;q=0.001", .gzip, false), ("gzip;q=1.000", .gzip, false),
        ("gzip;q=2", nil, false), ("gzip;q=", nil, false), ("gzip;q=0.0001", nil, false), ("gzip;q=-1", nil, false),
        ("gzip;level=9", nil, false), (" , ,gzip,, ", .gzip, false), (";q=1,=", nil, false), ("gzip;Q=0.3", .gzip, false),
    ] as [(String?, ContentCoding?, Bool)])
    func theBestOfWhatAClientTakesIsChosen(field: String?, best: ContentCoding?, refusesPlain: Bool) {
        let accepted = AcceptedCodings(field)
        #expect(accepted.best == best)
        #expect(accepted.refusesPlain == refusesPlain)
    }

    @Test func allLinesOfAFieldCount() {
        let fields = RequestFields([
            (name: "Accept-Encoding", value: "br"), (name: "accept-encoding", value: "deflate;q=0.5"),
        ])
        #expect(AcceptedCodings(fields.acceptEncoding).best == .deflate)
    }

    @Test(arguments: [
        ("text/plain", true), ("text/csv; charset=utf-8", true), ("application/json", true), ("Application/NDJSON", true),
        ("application/x-ndjson", true), ("application/javascript", true), ("application/xml", true),
        ("image/svg+xml", true), ("application/vnd.api+json", true), ("application/octet-stream", false),
        ("image/png", false), ("application/zip", false), ("application/gzip", false), ("application/pdf", false),
        ("video/mp4", false), ("font/woff2", false), ("application/x-protobuf", false), ("message/ndjson", false),
    ])
    func textIsPackedAndWhatIsPackedIsNot(type: String, isCompressible: Bool) throws {
        #expect(try #require(ContentType(type)).isCompressible == isCompressible)
    }

    private let facts = ReadFacts(
        identity: StreamIdentity(rawValue: 5), contentType: .json, start: 0, end: 4, isAtTail: true, isClosed: true)

    @Test func aPackedBodyHasATagOfItsOwn() {
        let packed = StreamResponse.read(self.facts, policy: CachePolicy(), coding: .gzip, varies: true)
        #expect(packed.header("etag") == "\"5:0:4:c-gzip\"")
        #expect(packed.header("content-encoding") == "gzip")
        #expect(packed.header("vary") == "Accept-Encoding")
        let plain = StreamResponse.read(self.facts, policy: CachePolicy(), varies: true)
        #expect(plain.header("etag") == "\"5:0:4:c\"")
        #expect(plain.header("content-encoding") == nil)
        #expect(plain.header("vary") == "Accept-Encoding")
        #expect(StreamResponse.read(self.facts, policy: CachePolicy()).header("vary") == nil)
    }

    @Test(arguments: [
        ("\"5:0:4:c-gzip\"", "\"5:0:4:c-gzip\""), ("W/\"5:0:4:c-deflate\"", "\"5:0:4:c-deflate\""),
        ("\"5:0:4:c\"", "\"5:0:4:c\""), ("\"5:0:4:c\", \"5:0:4:c-gzip\"", "\"5:0:4:c-gzip\""), ("*", "\"5:0:4:c-gzip\""),
    ])
    func whoHasAnyFormIsToldSoByTheTagOfIt(known: String, tag: String) {
        let response = StreamResponse.read(
            self.facts, policy: CachePolicy(), ifNoneMatch: known, coding: .gzip, varies: true)
        #expect(response.status == 304)
        #expect(response.header("etag") == tag)
        #expect(response.header("vary") == "Accept-Encoding")
        #expect(response.header("content-encoding") == nil)
    }

    @Test(arguments: ["\"5:0:4-gzip\"", "\"5:0:4:c-br\"", "\"5:0:3:c-gzip\"", "\"5:0:4:c-gzip", "\"-gzip\""])
    func anotherTagIsNotTakenForAPackedForm(known: String) {
        let response = StreamResponse.read(
            self.facts, policy: CachePolicy(), ifNoneMatch: known, coding: .gzip, varies: true)
        #expect(response.status == 200)
        #expect(response.header("etag") == "\"5:0:4:c-gzip\"")
    }
}
