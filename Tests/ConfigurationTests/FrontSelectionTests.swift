import Testing

@testable import Configuration

@Suite("Fronts")
struct FrontSelectionTests {
    struct Inference: Sendable {
        var variables: [String: String]
        var explanation: String
    }

    @Test(arguments: [
        Inference(variables: [:], explanation: "streams (DATABASE_URL is not set)"),
        Inference(variables: ["DATABASE_URL": " "], explanation: "streams (DATABASE_URL is not set)"),
        Inference(variables: ["LOG_LEVEL": "debug"], explanation: "streams (DATABASE_URL is not set)"),
        Inference(variables: ["DS_STORAGE__MODE": "acid"], explanation: "streams (DS_STORAGE__MODE is set)"),
        Inference(variables: ["DATABASE_URL": "x"], explanation: "satellite (DATABASE_URL is set)"),
        Inference(
            variables: ["DATABASE_URL": "x", "AUTH_MODE": "insecure"], explanation: "satellite (AUTH_MODE is set)"),
        Inference(
            variables: ["DATABASE_URL": "x", "ELECTRIC_SECRET": "s"], explanation: "shapes (ELECTRIC_SECRET is set)"),
        Inference(
            variables: ["DATABASE_URL": "x", "ELECTRIC_INSECURE": "true"],
            explanation: "shapes (ELECTRIC_INSECURE is set)"),
        Inference(
            variables: ["DATABASE_URL": "x", "ELECTRIC_PORT": "3000"], explanation: "shapes (ELECTRIC_PORT is set)"),
        Inference(
            variables: ["DATABASE_URL": "x", "ELECTRIC_INSECURE": "false"],
            explanation: "shapes (ELECTRIC_INSECURE is set)"),
        Inference(
            variables: ["DATABASE_URL": "x", "ELECTRIC_SECRET": "s", "PG_PROXY_PASSWORD": "p"],
            explanation: "satellite (PG_PROXY_PASSWORD is set), shapes (ELECTRIC_SECRET is set)"),
        Inference(
            variables: ["DATABASE_URL": "x", "ELECTRIC_PORT": "3000", "PG_PROXY_PASSWORD": "p"],
            explanation: "satellite (PG_PROXY_PASSWORD is set)"),
        Inference(
            variables: ["DATABASE_URL": "x", "DS_SERVER__PORT": "4437"],
            explanation: "satellite (DATABASE_URL is set), streams (DS_SERVER__PORT is set)"),
        Inference(
            variables: ["DATABASE_URL": "x", "DS_SERVER__PORT": "", "ELECTRIC_SECRET": ""],
            explanation: "satellite (DATABASE_URL is set)"),
        Inference(variables: ["PG_PROXY_PASSWORD": "p"], explanation: "satellite (PG_PROXY_PASSWORD is set)"),
        Inference(variables: ["ELECTRIC_SECRET": "s"], explanation: "shapes (ELECTRIC_SECRET is set)"),
    ])
    func frontsAreInferredWithAReason(inference: Inference) {
        let names = Set(inference.variables.filter { !ValueParsing.isBlank($0.value) }.keys)
        let selection = FrontSelection.inferred(
            from: names, isShapeAPIOpen: inference.variables["ELECTRIC_INSECURE"] == "true")
        #expect(selection.explanation == inference.explanation)
    }

    @Test func theListDecidesOverTheInference() throws {
        let settings = try Settings.load(
            environment: Environments.minimal.merging([
                "PENSTOCK_FRONTS": " streams , satellite,", "ELECTRIC_SECRET": "s",
            ]) { $1 })
        #expect(settings.fronts.enabled == [.satellite, .streams])
        #expect(settings.fronts.explanation == "satellite (PENSTOCK_FRONTS), streams (PENSTOCK_FRONTS)")
        #expect(settings.shapeAccess == nil)
        for value in ["all", "satellite,shape", "Satellite", ","] {
            #expect(
                Environments.problems(["PENSTOCK_FRONTS": value]).first
                    == "PENSTOCK_FRONTS has invalid value: \"\(value)\". "
                    + "Must be a list of [\"satellite\", \"shapes\", \"streams\"]")
        }
    }

    @Test func aVariableIsRequiredOnlyByItsFront() {
        #expect(Environments.problems(of: [:]) == [])
        #expect(
            Environments.problems(of: ["PENSTOCK_FRONTS": "satellite"]) == [
                "AUTH_JWT_ALG not set", "AUTH_JWT_KEY not set", "DATABASE_URL not set",
                "LOGICAL_PUBLISHER_HOST not set", "PG_PROXY_PASSWORD not set",
            ])
        #expect(
            Environments.problems(of: ["PENSTOCK_FRONTS": "shapes"]) == [
                "DATABASE_URL not set", "ELECTRIC_SECRET not set, and neither is ELECTRIC_INSECURE=true",
            ])
        #expect(Environments.problems(["DATABASE_URL": nil]) == ["DATABASE_URL not set"])
        #expect(Environments.problems(of: ["ELECTRIC_SECRET": "s"]) == ["DATABASE_URL not set"])
    }

    @Test func aStreamServerKeepsItsOwnAddress() throws {
        let alone = try Settings.load(environment: [:])
        #expect(
            alone.listeners == ListenerSettings(http: nil, streams: ListenAddress(host: "0.0.0.0", port: 4437)))
        #expect(alone.database == nil)
        #expect(alone.tokenPolicy == nil)
        let both = try Settings.load(environment: ["HTTP_PORT": "80", "DS_SERVER__PORT": "4000"])
        #expect(
            both.listeners
                == ListenerSettings(
                    http: ListenAddress(host: "::", port: 80), streams: ListenAddress(host: "0.0.0.0", port: 4000)))
        let beside = try Environments.load(["DS_STORAGE__MODE": "memory"])
        #expect(beside.listeners == ListenerSettings(http: ListenAddress(host: "::", port: 5133)))
    }

    @Test func theShapeAPIHasExactlyOneKindOfAccess() throws {
        let url = "postgresql://u@h/d"
        let secret = try Settings.load(
            environment: ["DATABASE_URL": url, "ELECTRIC_SECRET": "s", "ELECTRIC_PORT": "3000"])
        #expect(secret.shapeAccess == .secret(Secret("s")))
        #expect(secret.listeners.shapes == ListenAddress(host: "::", port: 3000))
        let open = try Settings.load(environment: ["DATABASE_URL": url, "ELECTRIC_INSECURE": "true"])
        #expect(open.shapeAccess == .everybody)
        #expect(open.listeners.shapes == nil)
        #expect(
            Environments.problems(of: ["DATABASE_URL": url, "ELECTRIC_INSECURE": "true", "ELECTRIC_SECRET": "s"]) == [
                "ELECTRIC_SECRET is not valid together with ELECTRIC_INSECURE=true"
            ])
    }

    @Test func whatIsNotBuiltIsSaid() throws {
        let settings = try Settings.load(
            environment: [
                "DATABASE_URL": "postgresql://u@h/d", "PG_PROXY_PASSWORD": "p", "PG_PROXY_PORT": "http:6000",
                "AUTH_MODE": "insecure", "LOGICAL_PUBLISHER_HOST": "h", "ELECTRIC_SECRET": "s", "DS_X": "1",
                "OTEL_EXPORT": "debug", "STATSD_HOST": "s", "ELECTRIC_TELEMETRY": "on",
                "ELECTRIC_FEATURES": "proxy_ddlx_assign=true:proxy_ddlx_grant=true:proxy_ddlx_revoke=false",
            ], builtParts: [])
        let words = [
            "ELECTRIC_WRITE_TO_PG_MODE=logical_replication", "on port 6000", "/proxy answers 404", "/v1/shape",
            "/v1/stream", "OTEL_EXPORT", "STATSD_HOST", "ELECTRIC_TELEMETRY", "proxy_ddlx_grant, proxy_ddlx_assign.",
        ]
        #expect(settings.unavailable.count == words.count)
        #expect(settings.servedFronts(builtParts: []) == [.satellite])
        #expect(settings.servedFronts(builtParts: [.streams]) == [.satellite, .streams])
        #expect(try Settings.load(environment: [:]).servedFronts(builtParts: [.shapes]).isEmpty)
        for (text, word) in zip(settings.unavailable, words) { #expect(text.contains(word), "\(text)") }

        let built = try Environments.load(
            ["ELECTRIC_WRITE_TO_PG_MODE": nil, "LOGICAL_PUBLISHER_HOST": "h"], builtParts: [.logicalPublisher])
        #expect(built.unavailable.count == 1)
        #expect(built.unavailable.first?.hasPrefix("The migrations proxy") == true)
    }
}
