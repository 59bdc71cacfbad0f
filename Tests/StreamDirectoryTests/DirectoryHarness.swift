import DurableStreams
import NIOCore
import StreamDirectory
import StreamStore
import StreamStoreTestSupport
import Synchronization
import Testing

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// The storage modes that tests run in.
enum TestMode: String, CaseIterable, Sendable, CustomTestStringConvertible {
    case memory, fileFast, fileDurable, acid

    var mode: StorageMode {
        switch self {
        case .memory: .memory
        case .fileFast: .fileFast
        case .fileDurable: .fileDurable
        case .acid: .acid(shards: 4)
        }
    }

    var testDescription: String { self.rawValue }
    static let onDisk: [TestMode] = allCases.filter { $0 != .memory }
    static let files: [TestMode] = [.fileFast, .fileDurable]
}

/// A value that callbacks set.
final class Box<Value: Sendable>: Sendable {
    private let state: Mutex<Value>

    init(_ value: Value) {
        self.state = Mutex(value)
    }

    var value: Value {
        get { self.state.withLock { $0 } }
        set { self.state.withLock { $0 = newValue } }
    }

    func change(_ body: (inout Value) -> Void) { self.state.withLock { body(&$0) } }
}

/// A directory whose disk is simulated (files) or a temporary folder (LMDB), with calls that wait for their answer.
final class DirectoryHarness {
    let mode: TestMode
    private(set) var disk: FaultyFileSystem
    private(set) var directory: StreamDirectory
    var configuration: StreamDirectoryConfiguration
    let now = Box<UInt64>(1_700_000_000_000)
    private let folder: String

    init(_ mode: TestMode, seed: UInt64 = 1, _ change: (inout StreamDirectoryConfiguration) -> Void = { _ in }) throws {
        self.mode = mode
        self.disk = FaultyFileSystem(seed: seed)
        let parent = getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp"
        self.folder = parent + "/penstock-directory-\(UInt64.random(in: 0 ... .max))"
        var configuration = StreamDirectoryConfiguration(
            mode: mode.mode, directory: mode == .acid ? self.folder : "/data")
        configuration.runsThreads = false
        configuration.lockCount = 4
        configuration.acidMapBytes = 1 << 20
        change(&configuration)
        self.configuration = configuration
        let now = self.now
        self.directory = try StreamDirectory.open(
            configuration, fileSystem: mode == .acid ? PosixFileSystem() : self.disk
        ) { now.value }
    }

    deinit {
        try? self.directory.close()
        guard self.mode == .acid else { return }
        Self.remove(self.folder)
    }

    static func remove(_ folder: String) {
        let system = PosixFileSystem()
        for name in (try? system.list(folder)) ?? [] {
            let path = folder + "/" + name
            if (try? system.unlink(path)) == nil { Self.remove(path) }
        }
        rmdir(folder)
    }

    /// Closes and opens again.
    func restart() throws {
        try self.directory.close()
        self.disk = self.disk.restart()
        try self.reopen()
    }

    /// Ends the process (files: the cache stays; LMDB: nothing was waiting) and starts again.
    func kill() throws {
        if self.mode == .acid { try self.directory.close() }
        self.disk = self.disk.restart()
        try self.reopen()
    }

    /// Takes the power and starts again.
    func losePower() throws {
        if self.mode == .acid { try self.directory.close() }
        self.disk = self.disk.crash()
        try self.reopen()
    }

    private func reopen() throws {
        let now = self.now
        self.directory = try StreamDirectory.open(
            self.configuration, fileSystem: self.mode == .acid ? PosixFileSystem() : self.disk
        ) { now.value }
    }

    /// Sizes of real files below a folder.
    func fileBytes(below path: String) -> Int {
        let system = PosixFileSystem()
        return ((try? system.list(self.folder + path)) ?? []).reduce(0) { count, name in
            let size = (try? system.open(self.folder + path + "/" + name, .readOnly))?.sizeOrZero ?? 0
            return count + size
        }
    }

    // MARK: - Calls

    func create(
        _ name: String, type: String? = nil, lifetime: Lifetime = .none, fork: ForkRequest? = nil, closes: Bool = false,
        body: String = ""
    ) throws -> CreateOutcome {
        try self.create(
            name,
            CreateRequest(
                contentType: type.flatMap { ContentType($0) }, lifetime: lifetime, fork: fork, closes: closes,
                body: ByteBuffer(string: body)))
    }

    func create(_ name: String, _ request: CreateRequest) throws -> CreateOutcome {
        let box = Box<Result<CreateOutcome, StreamError>?>(nil)
        self.directory.create(name, request, now: self.now.value) { box.value = $0 }
        return try self.answer(box)
    }

    @discardableResult
    func append(
        _ name: String, _ text: String, type: String = "application/octet-stream", producer: ProducerClaim? = nil,
        sequence: String? = nil, closes: Bool = false, ifMatch: StreamOffset? = nil
    ) throws -> DurableStreams.AppendOutcome {
        let box = Box<Result<DurableStreams.AppendOutcome, StreamError>?>(nil)
        self.directory.append(
            name,
            Self.request(text, type: type, producer: producer, sequence: sequence, closes: closes, ifMatch: ifMatch),
            now: self.now.value
        ) { box.value = $0 }
        return try self.answer(box)
    }

    static func request(
        _ text: String, type: String = "application/octet-stream", producer: ProducerClaim? = nil,
        sequence: String? = nil, closes: Bool = false, ifMatch: StreamOffset? = nil
    ) -> AppendRequest {
        var payload: Result<StreamPayload, StreamError>?
        if !text.isEmpty, let contentType = ContentType(type) {
            do throws(StreamError) {
                payload = .success(try StreamPayload.encode(body: ByteBuffer(string: text), contentType: contentType))
            } catch {
                payload = .failure(error)
            }
        }
        return AppendRequest(
            contentType: type, payload: payload, producer: .success(producer), sequence: sequence, closes: closes,
            ifMatch: ifMatch)
    }

    func delete(_ name: String) throws {
        let box = Box<Result<Void, StreamError>?>(nil)
        self.directory.delete(name, now: self.now.value) { box.value = $0 }
        try self.answer(box)
    }

    func lookup(_ name: String) throws -> StreamView {
        try self.directory.lookup(name, now: self.now.value).get()
    }

    func read(_ name: String, from position: UInt64 = 0, limit: Int = 1 << 20) throws -> StreamReading {
        try self.directory.read(name, from: position, limit: limit, now: self.now.value).get()
    }

    /// All there is, in as many readings as it takes.
    func text(_ name: String, from position: UInt64 = 0, limit: Int = 1 << 20) throws -> String {
        var position = position
        var text = ""
        while true {
            let reading = try self.read(name, from: position, limit: limit)
            guard reading.end > position else { return text }
            text += String(buffer: try reading.bytes())
            position = reading.end
        }
    }

    func code(_ body: () throws -> some Any) -> StreamErrorCode? {
        do {
            _ = try body()
            return nil
        } catch {
            return (error as? StreamError)?.code
        }
    }

    private struct NoAnswer: Error {}

    private func answer<Value>(_ box: Box<Result<Value, StreamError>?>) throws -> Value {
        if box.value == nil { self.directory.flush() }
        guard let result = box.value else { throw NoAnswer() }
        return try result.get()
    }
}

extension StoreFile {
    fileprivate var sizeOrZero: Int { (try? self.size()).map { Int($0) } ?? 0 }
}
