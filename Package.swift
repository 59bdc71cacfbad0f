// swift-tools-version: 6.1
import PackageDescription

// One array for every target: Swift 6 mode, explicit existentials, and each file imports what it uses.
let settings: [SwiftSetting] = [
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
]

func nio(_ name: String) -> Target.Dependency { .product(name: name, package: "swift-nio") }

let logging = Target.Dependency.product(name: "Logging", package: "swift-log")
let metrics = Target.Dependency.product(name: "CoreMetrics", package: "swift-metrics")
let lifecycle = Target.Dependency.product(name: "ServiceLifecycle", package: "swift-service-lifecycle")
let signals = Target.Dependency.product(name: "UnixSignals", package: "swift-service-lifecycle")
let protobuf = Target.Dependency.product(name: "SwiftProtobuf", package: "swift-protobuf")
let crypto = Target.Dependency.product(name: "Crypto", package: "swift-crypto")
let cryptoExtras = Target.Dependency.product(name: "CryptoExtras", package: "swift-crypto")
let ssl = Target.Dependency.product(name: "NIOSSL", package: "swift-nio-ssl")
let http2 = Target.Dependency.product(name: "NIOHTTP2", package: "swift-nio-http2")
let hpack = Target.Dependency.product(name: "NIOHPACK", package: "swift-nio-http2")
// Our module keeps the plain name.
let configurationAlias = ["Configuration": "SwiftConfiguration"]

func target(_ name: String, _ dependencies: [Target.Dependency], exclude: [String] = []) -> Target {
    .target(name: name, dependencies: dependencies, exclude: exclude, swiftSettings: settings)
}

func tests(_ name: String, _ dependencies: [Target.Dependency], exclude: [String] = []) -> Target {
    .testTarget(name: name, dependencies: dependencies, exclude: exclude, swiftSettings: settings)
}

let package = Package(
    name: "penstock",
    platforms: [.macOS(.v15)],
    products: [
        .executable(name: "penstock", targets: ["penstock"])
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-metrics", from: "2.13.0"),
        .package(url: "https://github.com/apple/swift-configuration", from: "1.4.0"),
        .package(url: "https://github.com/apple/swift-protobuf", from: "1.39.0"),
        .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
        .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.6"),
        .package(url: "https://github.com/apple/swift-nio-http2", from: "1.46.0"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
        .package(url: "https://github.com/swift-server/async-http-client", from: "1.37.0"),
        .package(url: "https://github.com/LebJe/TOMLKit", from: "0.6.0"),
    ],
    targets: [
        // System libraries and C.
        .systemLibrary(
            name: "CLibPQ", path: "Sources/CLibPQ", pkgConfig: "libpq", providers: [.apt(["libpq-dev"])]),
        .systemLibrary(name: "CZlib", path: "Sources/CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),
        .systemLibrary(name: "CLMDB", path: "Sources/CLMDB", providers: [.apt(["liblmdb-dev"])]),
        .target(name: "CStoreSupport"),
        .target(name: "CSQLText"),
        // For tests: takes the place of system calls of the program that links it.
        .target(name: "CFileTrap"),

        // Pure: no sockets, no files, no clocks.
        target("PostgresWire", [nio("NIOCore")]),
        target("ExactText", []),
        target("Catalog", ["ExactText"]),
        target("Satellite", ["ExactText", "PostgresWire", nio("NIOCore"), protobuf], exclude: ["Protocol/satellite.proto"]),
        target("WebAddresses", []),
        target("DurableStreams", ["ExactText", "WebAddresses", nio("NIOCore")]),
        target("Identity", ["ExactText", crypto, cryptoExtras]),

        // Parts that run things; imports point down.
        target(
            "Configuration",
            [
                "ExactText", "Identity", "WebAddresses",
                .product(name: "TOMLKit", package: "TOMLKit"),
                .product(
                    name: "Configuration", package: "swift-configuration", moduleAliases: configurationAlias),
            ]),
        target("Observability", [logging, metrics]),
        target("StreamStore", ["CStoreSupport", nio("NIOCore")]),
        target(
            "StreamDirectory",
            ["CLMDB", "CStoreSupport", "DurableStreams", "ExactText", "StreamStore", nio("NIOCore")]),
        target(
            "TokenKeys",
            [
                "Identity", nio("NIOCore"), nio("NIOHTTP1"), ssl,
                .product(
                    name: "AsyncHTTPClient", package: "async-http-client", moduleAliases: configurationAlias),
            ]),
        target("PostgresClient", ["CLibPQ", "ExactText", "PostgresWire", nio("NIOCore"), logging]),
        target(
            "ChangeFeed",
            ["PostgresWire", "PostgresClient", "StreamStore", nio("NIOCore"), nio("NIOPosix"), logging, lifecycle]),
        target("WriteBack", ["ExactText", "PostgresClient", nio("NIOCore"), logging]),
        target("DatabaseSetup", ["CSQLText", "PostgresClient", "PostgresWire", nio("NIOCore"), logging]),
        target("MigrationsAPI", ["CZlib", nio("NIOCore")]),
        target(
            "HTTPServer",
            [
                "CZlib", "WebAddresses", nio("NIOCore"), nio("NIOPosix"), nio("NIOHTTP1"), nio("NIOWebSocket"), nio("NIOTLS"), ssl,
                http2, hpack, logging, crypto,
            ]),
        target(
            "StreamEndpoint",
            [
                "DurableStreams", "HTTPServer", "StreamDirectory", "StreamStore", "WebAddresses", nio("NIOCore"),
                nio("NIOHTTP1"), nio("NIOPosix"), logging,
            ]),
        target(
            "WebhookDelivery",
            [
                "DurableStreams", "StreamEndpoint", "StreamStore", "WebAddresses", nio("NIOCore"), nio("NIOPosix"),
                nio("NIOHTTP1"), ssl,
                crypto,
                .product(
                    name: "AsyncHTTPClient", package: "async-http-client", moduleAliases: configurationAlias),
            ]),
        target(
            "Mirror",
            [
                "ChangeFeed", "DurableStreams", "ExactText", "PostgresClient", "PostgresWire", "StreamDirectory",
                "StreamStore", nio("NIOCore"), nio("NIOPosix"), logging, lifecycle,
            ]),
        target(
            "SatelliteEndpoint",
            [
                "Satellite", "Catalog", "ChangeFeed", "ExactText", "HTTPServer", "PostgresClient", "PostgresWire",
                "WriteBack", nio("NIOCore"), nio("NIOHTTP1"), logging, protobuf,
            ]),
        target(
            "Sidecar",
            [
                "Catalog", "ChangeFeed", "Configuration", "DatabaseSetup", "ExactText", "HTTPServer", "Identity",
                "MigrationsAPI", "Observability", "PostgresClient", "Satellite", "SatelliteEndpoint", "StreamDirectory",
                "StreamEndpoint",
                "DurableStreams", "Mirror", "StreamStore", "TokenKeys", "WebhookDelivery", "WriteBack",
                nio("NIOCore"), nio("NIOPosix"), nio("NIOHTTP1"), logging, lifecycle, signals,
            ]),
        target(
            "SatelliteClient",
            [
                "ExactText", "Satellite", "PostgresWire", nio("NIOCore"), nio("NIOPosix"), nio("NIOHTTP1"),
                nio("NIOWebSocket"), protobuf,
            ]),
        target("ChildProcesses", []),
        target("DevelopmentCluster", ["ChildProcesses", "PostgresClient", logging]),
        .executableTarget(
            name: "penstock",
            dependencies: [
                "Configuration", "DatabaseSetup", "DevelopmentCluster", "ExactText", "Identity", "Observability",
                "PostgresClient",
                "Satellite", "SatelliteClient", "Sidecar", "StreamDirectory", "DurableStreams", nio("NIOCore"), logging,
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            swiftSettings: settings),

        .executableTarget(
            name: "PenstockBenchmarks",
            dependencies: [
                "ChildProcesses", "CLibPQ", "Satellite", "TestSupport", nio("NIOCore"), nio("NIOHTTP1"),
                nio("NIOPosix"),
                nio("NIOWebSocket"), protobuf,
            ],
            path: "Benchmarks/PenstockBenchmarks", swiftSettings: settings),

        // For tests.
        target("TestSupport", ["ChildProcesses", "PostgresClient", "PostgresWire", nio("NIOCore")]),
        target("StreamStoreTestSupport", ["CFileTrap", "StreamStore", nio("NIOCore")]),

        tests("PostgresWireTests", ["PostgresWire", nio("NIOCore")]),
        tests("CatalogTests", ["Catalog", "ExactText"]),
        tests("SatelliteTests", ["ExactText", "Satellite", "PostgresWire", nio("NIOCore"), protobuf]),
        tests("IdentityTests", ["ExactText", "Identity", crypto, cryptoExtras]),
        tests("ConfigurationTests", ["Configuration", "Identity", "WebAddresses"], exclude: ["Golden"]),
        tests("ObservabilityTests", ["Observability", logging, metrics]),
        tests("StreamStoreTests", ["CStoreSupport", "StreamStore", "StreamStoreTestSupport", nio("NIOCore")]),
        tests(
            "HTTPServerTests",
            [
                "HTTPServer", "WebAddresses", nio("NIOCore"), nio("NIOHTTP1"), nio("NIOPosix"), nio("NIOEmbedded"), ssl,
                http2, hpack, logging,
            ]),
        tests("ExactTextTests", ["ExactText"]),
        tests("WebAddressesTests", ["WebAddresses"]),
        tests("DurableStreamsTests", ["DurableStreams", "ExactText", "WebAddresses", nio("NIOCore")]),
        tests(
            "StreamDirectoryTests",
            ["DurableStreams", "ExactText", "StreamDirectory", "StreamStore", "StreamStoreTestSupport", nio("NIOCore")]),
        tests(
            "StreamEndpointTests",
            [
                "CZlib", "DurableStreams", "HTTPServer", "StreamDirectory", "StreamEndpoint", "StreamStore",
                "StreamStoreTestSupport", "WebhookDelivery", nio("NIOCore"), nio("NIOPosix"), nio("NIOHTTP1"), ssl,
                http2,
                logging, crypto,
            ]),
        tests(
            "MirrorTests",
            [
                "ChangeFeed", "DurableStreams", "Mirror", "PostgresClient", "PostgresWire", "StreamDirectory",
                "StreamStore", "StreamStoreTestSupport", "TestSupport", nio("NIOCore"), nio("NIOPosix"), logging,
            ]),
        tests(
            "TokenKeysTests",
            ["Identity", "TokenKeys", crypto, nio("NIOCore"), nio("NIOHTTP1"), nio("NIOPosix")]),
        tests(
            "SatelliteEndpointTests",
            [
                "ChangeFeed", "DatabaseSetup", "ExactText", "HTTPServer", "PostgresClient", "PostgresWire", "Satellite",
                "SatelliteEndpoint", "StreamStore", "TestSupport", nio("NIOCore"), nio("NIOEmbedded"), nio("NIOHTTP1"),
                nio("NIOPosix"), logging, protobuf,
            ]),
        tests("PostgresClientTests", ["PostgresClient", "PostgresWire", "TestSupport", nio("NIOCore"), logging]),
        tests(
            "ChangeFeedTests", ["ChangeFeed", "PostgresWire", "StreamStore", "StreamStoreTestSupport", nio("NIOCore")]),
        tests(
            "WriteBackTests",
            ["WriteBack", "DatabaseSetup", "ExactText", "PostgresClient", "TestSupport", nio("NIOCore"), logging]),
        tests("DatabaseSetupTests", ["DatabaseSetup", "PostgresClient", "PostgresWire", "TestSupport", logging]),
        tests("MigrationsAPITests", ["MigrationsAPI", nio("NIOCore")]),
        tests(
            "DevelopmentClusterTests",
            ["ChildProcesses", "DevelopmentCluster", "PostgresClient", "TestSupport", logging]),
        tests(
            "SatelliteClientTests",
            ["ExactText", "SatelliteClient", "Satellite", "PostgresWire", nio("NIOCore"), protobuf]),
        tests(
            "IntegrationTests",
            [
                "ChangeFeed", "ExactText", "Identity", "PostgresClient", "PostgresWire", "Satellite",
                "SatelliteClient", "StreamStore", "StreamStoreTestSupport",
                "TestSupport", "ChildProcesses", "penstock", nio("NIOCore"), nio("NIOHTTP1"), nio("NIOPosix"), ssl, crypto,
                logging,
                .product(
                    name: "AsyncHTTPClient", package: "async-http-client", moduleAliases: configurationAlias),
            ]),
    ]
)
