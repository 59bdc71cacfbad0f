import Foundation

/// Where settings are read from: the environment, and for the stream server TOML files below it.
package struct ConfigurationSources: Sendable {
    /// What reading a file came to.
    package enum FileContent: Hashable, Sendable {
        case missing
        case unreadable
        case text(String)
    }

    package var environment: [String: String]
    /// The option `--profile`.
    package var profile: String?
    /// The option `--config`.
    package var file: String?
    /// The directory of `default.toml` and its neighbours; nil if no files are read but the one of ``file``.
    package var directory: String?
    /// Reads a file. Replaced in tests.
    package var read: @Sendable (_ path: String) -> FileContent

    package init(
        environment: [String: String], profile: String? = nil, file: String? = nil, directory: String? = "config",
        read: @escaping @Sendable (_ path: String) -> FileContent = ConfigurationSources.readFile
    ) {
        self.environment = environment
        self.profile = profile
        self.file = file
        self.directory = directory
        self.read = read
    }

    /// Reads a file of at most 1 MiB in UTF-8.
    package static func readFile(_ path: String) -> FileContent {
        var isDirectory = ObjCBool(false)
        guard FileManager.default.fileExists(atPath: path, isDirectory: &isDirectory) else { return .missing }
        guard !isDirectory.boolValue, let data = FileManager.default.contents(atPath: path), data.count <= 1 << 20,
            let text = String(validating: data, as: UTF8.self)
        else { return .unreadable }
        return .text(text)
    }
}
