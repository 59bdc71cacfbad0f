import Foundation
import NIOCore
import NIOHTTP1
import TestSupport
import Testing

/// Bytes on the disk that are not what they were.
@Suite(.serialized, .timeLimit(.minutes(2))) struct StreamDamageTests {
    /// Changes one byte wherever a text stands in the files of streams; returns how often that was.
    private static func spoil(_ text: String, of server: StreamProcess) throws -> Int {
        let folder = server.directory + "/data"
        var count = 0
        for name in FileManager.default.enumerator(atPath: folder)?.compactMap({ $0 as? String }) ?? [] {
            guard name.hasSuffix(".data") || name.hasSuffix(".mdb") else { continue }
            let place = URL(fileURLWithPath: folder + "/" + name)
            var bytes = try Data(contentsOf: place)
            while let range = bytes.range(of: Data(text.utf8)) {
                bytes[range.lowerBound] = UInt8(ascii: "?")
                count += 1
            }
            try bytes.write(to: place)
        }
        return count
    }

    @Test(arguments: ["file-durable", "acid"])
    func aDamagedStreamIsNamedInTheLogOnceAndOthersServe(_ mode: String) async throws {
        let server = try StreamProcess(mode: mode)
        let text = [("content-type", "text/plain")]
        let padding = String(repeating: ".", count: 10_000)
        try await server.whileRunning {
            for name in ["good", "bad"] {
                let answer = try await server.request(.PUT, name, headers: text, body: "<the \(name) one>" + padding)
                #expect(answer.status == 201)
            }
        }
        #expect(try Self.spoil("<the bad one>", of: server) > 0)
        let statuses = try await server.whileRunning { () async throws -> [Int] in
            var statuses: [Int] = []
            for name in ["bad", "bad", "bad", "good"] {
                statuses.append(try await server.request(.GET, name).status)
            }
            return statuses
        }
        #expect(statuses == [500, 500, 500, 200])
        let lines = server.log.split(separator: "\n").filter { $0.contains("are damaged") }
        #expect(lines.count == 1 && lines.first?.contains("stream=bad") == true, "\(server.log)")
        #expect(lines.first?.contains(mode == "acid" ? ".mdb" : ".data") == true)
    }

    @Test func aDamagedEnvironmentIsCalledDamaged() async throws {
        let server = try StreamProcess(mode: "acid")
        let status = try await server.whileRunning {
            try await server.request(.PUT, "a", headers: [("content-type", "text/plain")]).status
        }
        #expect(status == 201)
        let place = URL(fileURLWithPath: server.directory + "/data/acid/shard_00.mdb")
        var bytes = try Data(contentsOf: place)
        // The version of the format, on the first page.
        bytes[20] ^= 0x41
        try bytes.write(to: place)
        let outcome = try await server.run("streams", "list")
        #expect(outcome.status != 0)
        #expect(outcome.output.contains("corrupt") && outcome.output.contains("from a copy"), "\(outcome.output)")
    }
}
