import DurableStreams
import HTTPServer
import NIOCore
import StreamDirectory
import Synchronization

/// A live read that waits at the end of a stream.
protocol TailReader: AnyObject {
    /// The stream has more than the position that was waited at, or is closed.
    func tailChanged()
    /// The stream is gone.
    func tailEnded(_ reason: StreamErrorCode)
}

/// The streams that live readers of one event loop watch. Confined to that loop.
final class SharedTails {
    private var tails: [StreamIdentity: SharedTail] = [:]

    /// Someone begins to read; the stream is watched, and does not expire, until ``leave(_:_:)``.
    func join(_ name: String, _ view: StreamView, _ services: StreamServices, on eventLoop: any EventLoop)
        -> Result<SharedTail, StreamError>
    {
        if let known = self.tails[view.identity] {
            known.readers += 1
            services.loops.readers.wrappingAdd(1, ordering: .relaxed)
            return .success(known)
        }
        let tail = SharedTail(identity: view.identity)
        let bound = NIOLoopBound(tail, eventLoop: eventLoop)
        let watched = services.directory.observe(
            name, identity: view.identity, now: services.clock(), target: services.loops.target(on: eventLoop)
        ) { notice in bound.value.noticed(notice) }
        switch watched {
        case .failure(let error): return .failure(error)
        case .success(let (observer, view)):
            tail.observer = observer
            tail.position = view.tail
            tail.isClosed = view.isClosed
            tail.readers = 1
            self.tails[view.identity] = tail
            services.loops.readers.wrappingAdd(1, ordering: .relaxed)
            return .success(tail)
        }
    }

    func leave(_ tail: SharedTail, _ services: StreamServices) {
        tail.readers -= 1
        services.loops.readers.wrappingSubtract(1, ordering: .relaxed)
        guard tail.readers == 0 else { return }
        self.tails[tail.identity] = nil
        if let observer = tail.observer { services.directory.cancel(observer, now: services.clock()) }
    }
}

/// The end of one stream, watched once for all readers of a loop; what they are sent is encoded once.
final class SharedTail {
    /// Where a reader stands, and what it has seen: more than that when the end of a text was kept back.
    struct Place: Hashable {
        var position: UInt64
        var beyond: UInt64
    }

    /// A batch as it goes to every reader that stands at the same place.
    struct Batch {
        var chunk: HTTPSharedChunk
        var reading: LiveReader.Reading
        /// The round of cursors that it was made in.
        var cursor: UInt64
    }

    private struct Waiter {
        let reader: any TailReader
        let position: UInt64
    }

    let identity: StreamIdentity
    fileprivate(set) var readers = 0
    fileprivate var observer: TailObserver?
    fileprivate var position: UInt64 = 0
    fileprivate var isClosed = false
    private var end: StreamErrorCode?
    private var waiters: [ObjectIdentifier: Waiter] = [:]
    private var batches: [Place: Batch] = [:]
    private static let batchLimit = 4

    init(identity: StreamIdentity) {
        self.identity = identity
    }

    /// Calls the reader once, in this turn or later.
    func wait(_ reader: any TailReader, after position: UInt64) {
        if let end = self.end {
            reader.tailEnded(end)
        } else if self.position > position || self.isClosed {
            reader.tailChanged()
        } else {
            self.waiters[ObjectIdentifier(reader)] = Waiter(reader: reader, position: position)
        }
    }

    func cancel(_ reader: any TailReader) {
        self.waiters[ObjectIdentifier(reader)] = nil
    }

    fileprivate func noticed(_ notice: StreamNotice) {
        self.batches = [:]
        self.position = max(self.position, notice.tail)
        self.isClosed = self.isClosed || notice.isClosed
        switch notice.end {
        case nil: break
        case .deleted, .expired: self.end = .notFound
        case .released: self.end = .unavailable
        }
        let all = self.waiters
        self.waiters = [:]
        for (key, waiter) in all {
            if let end = self.end {
                waiter.reader.tailEnded(end)
            } else if self.position > waiter.position || self.isClosed {
                waiter.reader.tailChanged()
            } else {
                self.waiters[key] = waiter
            }
        }
    }

    /// What another reader was sent from this place since the last change.
    func batch(at place: Place, cursor: UInt64) -> Batch? {
        self.batches[place].flatMap { $0.cursor == cursor ? $0 : nil }
    }

    func keep(_ batch: Batch, at place: Place) {
        if self.batches[place] == nil, self.batches.count >= Self.batchLimit { return }
        self.batches[place] = batch
    }
}
