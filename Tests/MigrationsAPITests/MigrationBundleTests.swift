import Foundation
import NIOCore
import Testing

@testable import MigrationsAPI

@Suite("Bundles of migrations")
struct MigrationBundleTests {
    /// What Python's own zip module finds in the archive: `[[name, content in hexadecimal], ...]`, after it has tested
    /// every checksum.
    private func unpacked(_ archive: ByteBuffer) throws -> [[String]] {
        let file = FileManager.default.temporaryDirectory.appendingPathComponent("bundle-\(UUID().uuidString).zip")
        defer { try? FileManager.default.removeItem(at: file) }
        try Data(archive.readableBytesView).write(to: file)
        let script = """
            import json, sys, zipfile
            with zipfile.ZipFile(sys.argv[1]) as archive:
                assert archive.testzip() is None
                assert all(i.compress_type == zipfile.ZIP_DEFLATED for i in archive.infolist())
                print(json.dumps([[name, archive.read(name).hex()] for name in archive.namelist()]))
            """
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = ["python3", "-c", script, file.path]
        let output = Pipe()
        process.standardOutput = output
        try process.run()
        let data = output.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        try #require(process.terminationStatus == 0)
        return try JSONDecoder().decode([[String]].self, from: data)
    }

    private func hexadecimal(_ text: String) -> String {
        text.utf8.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }

    @Test func anotherProgramReadsTheArchive() throws {
        let first = try MigrationBundle.Entry(
            version: "20240101_1", script: "CREATE TABLE \"ä\" (\n  \"id\" TEXT\n);\n\nSELECT 1;",
            operations: [[0xFB, 0xFF, 0x00], [1], [1, 2], []])
        let second = try MigrationBundle.Entry(version: "20240102.a-b", script: "", operations: [])
        let members = try self.unpacked(try MigrationBundle.archive([first, second]))
        #expect(
            members == [
                ["20240101_1/migration.sql", self.hexadecimal(first.script)],
                [
                    "20240101_1/metadata.json",
                    self.hexadecimal(
                        #"{"format":"SatOpMigrate","ops":["+/8A","AQ==","AQI=",""],"#
                            + #""protocol_version":"Electric.Satellite","version":"20240101_1"}"#),
                ],
                ["20240102.a-b/migration.sql", ""],
                [
                    "20240102.a-b/metadata.json",
                    self.hexadecimal(
                        #"{"format":"SatOpMigrate","ops":[],"protocol_version":"Electric.Satellite","version":"20240102.a-b"}"#
                    ),
                ],
            ])
    }

    @Test func largeAndIncompressibleContentSurvives() throws {
        var state: UInt64 = 88_172_645_463_325_252
        let noise = (0..<300_000).map { _ -> UInt8 in
            state ^= state << 13
            state ^= state >> 7
            state ^= state << 17
            return UInt8(truncatingIfNeeded: state)
        }
        let script = String(repeating: "SELECT 'ü';\n", count: 100_000)
        let entry = try MigrationBundle.Entry(version: "1", script: script, operations: [noise])
        let archive = try MigrationBundle.archive([entry])
        #expect(archive.readableBytes < noise.count * 3 / 2)
        let members = try self.unpacked(archive)
        #expect(members[0][1] == self.hexadecimal(script))
        #expect(members[1][1] == self.hexadecimal(entry.metadata))
        let encoded = Data(noise).base64EncodedString()
        #expect(entry.metadata.contains("[\"\(encoded)\"]"))
    }

    @Test func theSameInputGivesTheSameBytes() throws {
        let entries = try (1...50).map {
            try MigrationBundle.Entry(version: "\($0)", script: "s\($0);", operations: [[1]])
        }
        let archive = try MigrationBundle.archive(entries)
        #expect(try MigrationBundle.archive(entries) == archive)
        #expect(try self.unpacked(archive).count == 100)
    }

    @Test func tooManyMembersAreRefused() throws {
        var archive = ZipArchive()
        for _ in 0..<Int(UInt16.max) { try archive.add(name: "", content: []) }
        #expect(throws: MigrationsError(code: .tooLarge, message: "")) { try archive.add(name: "", content: []) }
    }

    @Test(arguments: ["", "../x", "a/b", "a\\b", ".", "..", "ä", "a\"b", String(repeating: "1", count: 256)])
    func versionsThatCannotNameAFolderAreRefused(version: String) {
        #expect(throws: MigrationsError(code: .invalidVersion, message: "")) {
            try MigrationBundle.Entry(version: version, script: "", operations: [])
        }
    }
}

@Suite("Requests for migrations")
struct MigrationsRequestTests {
    @Test func dialectsAndVersions() throws {
        #expect(try MigrationsRequest(dialect: "sqlite", version: nil).dialect == .sqlite)
        #expect(try MigrationsRequest(dialect: "postgresql", version: "").after == nil)
        #expect(try MigrationsRequest(dialect: "postgresql", version: "2024").after == "2024")
    }

    @Test(
        arguments: [
            (nil, #"{"error":"missing required parameter 'dialect'"}"#), ("", #"{"error":"unsupported dialect \"\""}"#),
            ("mysql", #"{"error":"unsupported dialect \"mysql\""}"#),
            ("a\"\n\\", #"{"error":"unsupported dialect \"a\"\u000a\\\""}"#),
        ] as [(String?, String)])
    func refusals(dialect: String?, body: String) throws {
        let response = try #require(throws: MigrationsResponse.self) {
            try MigrationsRequest(dialect: dialect, version: nil)
        }
        #expect(response.status == 403)
        #expect(response.contentType == "application/json")
        #expect(String(buffer: response.body) == body)
    }

    @Test func nothingToBundleIsNoContent() throws {
        let response = try MigrationsResponse.migrations([])
        #expect(response == MigrationsResponse(status: 204, contentType: nil, body: ByteBuffer()))
        let entry = try MigrationBundle.Entry(version: "1", script: "", operations: [])
        let full = try MigrationsResponse.migrations([entry])
        #expect(full.status == 200)
        #expect(full.contentType == "application/zip")
        #expect(full.body.readableBytes > 0)
    }
}
