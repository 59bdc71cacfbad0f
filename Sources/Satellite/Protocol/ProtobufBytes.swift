package import NIOCore

// The generated messages hold `bytes` fields as `Data`; this is the only other file that knows it.
#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

extension ByteBuffer {
    /// The readable bytes as a field of a generated message.
    package var protobufField: Data { Data(self.readableBytesView) }

    /// The value of a field of a generated message.
    package init(protobufField: Data) {
        self.init(bytes: protobufField)
    }
}

extension [UInt8] {
    /// The bytes as a field of a generated message.
    package var protobufField: Data { Data(self) }
}
