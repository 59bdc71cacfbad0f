@testable import Configuration

/// Configurations of the stream server for tests: variables, and files that exist in memory alone.
enum StreamEnvironments {
    static func sources(
        _ environment: [String: String] = [:], files: [String: String] = [:], profile: String? = nil,
        file: String? = nil
    ) -> ConfigurationSources {
        ConfigurationSources(environment: environment, profile: profile, file: file) { path in
            files[path].map { .text($0) } ?? .missing
        }
    }

    static func load(
        _ environment: [String: String] = [:], files: [String: String] = [:], profile: String? = nil,
        file: String? = nil
    ) throws -> StreamServerSettings {
        let sources = Self.sources(environment, files: files, profile: profile, file: file)
        let settings = try Settings.load(sources: sources)
        guard let streams = settings.streams else { throw NoStreams() }
        return streams
    }

    /// The problems as `NAME text`.
    static func problems(
        _ environment: [String: String] = [:], files: [String: String] = [:], profile: String? = nil,
        file: String? = nil
    ) -> [String] {
        do throws(ConfigurationReport) {
            _ = try Settings.load(sources: Self.sources(environment, files: files, profile: profile, file: file))
            return []
        } catch {
            return error.problems.map { "\($0.variable) \($0.text)" }
        }
    }

    /// The names in the problems.
    static func names(_ environment: [String: String], profile: String? = nil) -> [String] {
        do throws(ConfigurationReport) {
            _ = try Settings.load(sources: Self.sources(environment, profile: profile))
            return []
        } catch {
            return error.problems.map(\.variable)
        }
    }

    struct NoStreams: Error {}
}
