extension StreamServerSettings {
    /// The stream server of `penstock dev`: streams in a directory, nothing protected.
    static func development(address: ListenAddress?, dataDirectory: String) -> StreamServerSettings {
        var storage = Storage()
        storage.mode = .fileFast
        storage.dataDirectory = dataDirectory
        return StreamServerSettings(
            profile: "dev", bindAddress: address, limits: Limits(), retention: Retention(), http: HTTP(),
            admin: Admin(), storage: storage,
            transport: Transport(), proxy: Proxy(), logFilter: LogFilter(level: .debug), auth: nil, warnings: [])
    }
}

/// The stream server and the mirror, read from all places together.
struct StreamConfiguration {
    var streams: StreamServerSettings
    var mirror: MirrorSettings?
    var problems: [ConfigurationReport.Problem]

    /// - Parameter isAlone: Whether the process serves streams alone, without a database. Then names without a prefix,
    ///   which are anybody's, are read too.
    init(_ sources: ConfigurationSources, isAlone: Bool) {
        var problems: [ConfigurationReport.Problem] = []
        func report(_ label: String, _ text: String) {
            guard !problems.contains(where: { $0.variable == label && $0.text == text }) else { return }
            problems.append(ConfigurationReport.Problem(variable: label, text: text, details: [], isRequired: true))
        }
        let (profile, profileLabel) = Self.profile(sources)
        var layers = [StreamSettingsLoader.builtInLayer(profile: profile)]
        for file in Self.files(sources, profile: profile, profileLabel: profileLabel, report) {
            switch sources.read(file.path) {
            case .missing:
                if let label = file.requiredBy { report(label, "names \(file.path), which does not exist") }
            case .unreadable: report(file.path, "cannot be read. It has to be a TOML file of at most 1 MiB in UTF-8")
            case .text(let text):
                do throws(ConfigurationNode.SyntaxError) {
                    let root = try ConfigurationNode.parse(text)
                    layers.append(ConfigurationLayer(file: file.path, root: root, report: report))
                } catch {
                    report(file.path, "line \(error.line), column \(error.column): \(error.text)")
                }
            }
        }
        layers.append(ConfigurationLayer(environment: sources.environment, takesOldestNames: isAlone))

        var loader = StreamSettingsLoader(layers: layers, profile: profile)
        loader.warnings = Self.unknownVariables(sources.environment)
        self.streams = loader.load()
        let flows = layers.last { $0.flows != nil }
        var mirror = MirrorSettingsLoader(environment: sources.environment)
        self.mirror = mirror.load(flows: flows?.flows ?? [], file: flows?.name ?? "")
        self.problems = problems + loader.reader.problems + mirror.problems
    }

    private static func profile(_ sources: ConfigurationSources) -> (name: String, label: String) {
        let variable = sources.environment["PENSTOCK_PROFILE"].flatMap { ValueParsing.isBlank($0) ? nil : $0 }
        if let name = sources.profile { return (name, "--profile") }
        return (variable ?? "default", "PENSTOCK_PROFILE")
    }

    private struct File {
        var path: String
        /// The option that demands it; nil if it may be missing.
        var requiredBy: String?
    }

    private static func files(
        _ sources: ConfigurationSources, profile: String, profileLabel: String, _ report: (String, String) -> Void
    ) -> [File] {
        var files: [File] = []
        let isPlain =
            !profile.isEmpty
            && profile.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"):
                    true
                default: false
                }
            }
        if !isPlain {
            report(
                profileLabel,
                "has invalid value: \(ValueParsing.quoted(profile)). Must be a name of letters, digits, - and _")
        }
        if let directory = sources.directory {
            files.append(File(path: "\(directory)/default.toml"))
            if isPlain, profile != "default", profile != "local" {
                let isBuiltIn = StreamSettingsLoader.builtInProfiles.contains(profile)
                files.append(File(path: "\(directory)/\(profile).toml", requiredBy: isBuiltIn ? nil : profileLabel))
            }
            files.append(File(path: "\(directory)/local.toml"))
        }
        let variable = sources.environment["PENSTOCK_CONFIG"].flatMap { ValueParsing.isBlank($0) ? nil : $0 }
        if let path = sources.file {
            files.append(File(path: path, requiredBy: "--config"))
        } else if let variable {
            files.append(File(path: variable, requiredBy: "PENSTOCK_CONFIG"))
        }
        return files
    }

    /// Variables that look like ours and are not. They are told and not refused: newer versions of others may have more.
    private static func unknownVariables(_ environment: [String: String]) -> [String] {
        let known = Set(StreamKey.knownPaths.map(StreamKey.environmentName))
        let mirror = DocumentedVariable.all.map(\.name).filter { $0.hasPrefix("PENSTOCK_MIRROR_") }
        return environment.keys.sorted().compactMap { name in
            let hint: String
            if name.hasPrefix("DS_"), name.contains("__"), !known.contains(name) {
                hint = StreamKey.hint(forEnvironmentName: name)
            } else if name.hasPrefix("PENSTOCK_MIRROR_"), !mirror.contains(name) {
                hint = NearestName.hint(for: name, in: mirror, separator: "_")
            } else {
                return nil
            }
            return "\(name) is not known and has no effect.\(hint)"
        }
    }
}
