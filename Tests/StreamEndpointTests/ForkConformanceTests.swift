import DurableStreams
import StreamDirectory
import StreamEndpoint
import Testing

extension Conformance {
    @Suite struct ForkCreation {
        private func source(_ mode: TestMode, _ texts: [String] = ["one", "two", "three"]) async throws
            -> (stream: RemoteStream, offsets: [String])
        {
            let stream = try mode.stream()
            var offsets = [try await stream.create().offset]
            for text in texts { offsets.append(try await stream.append(text).offset) }
            return (stream, offsets)
        }

        private func messages(_ mode: TestMode) async throws -> (stream: RemoteStream, offsets: [String]) {
            let stream = try mode.stream("application/json")
            var offsets = [try await stream.create().offset]
            for text in ["[1,2,3]", "[\"a,b\",{\"c\":[4,5]}]"] { offsets.append(try await stream.append(text).offset) }
            return (stream, offsets)
        }

        @Test(arguments: TestMode.allCases) func aForkBeginsAtTheHead(_ mode: TestMode) async throws {
            let (stream, offsets) = try await self.source(mode)
            let (fork, answer) = try await stream.fork()
            #expect(answer.status == 201)
            #expect(answer.offset == offsets[3])
            #expect(answer["content-type"] == "text/plain")
            #expect(answer["location"]?.hasSuffix(fork.path) == true)
            #expect(try await fork.read().text == "onetwothree")
            for name in ["stream-forked-from", "stream-fork-offset", "stream-fork-sub-offset"] {
                #expect(answer[name] == nil)
                #expect(try await fork.head()[name] == nil)
                #expect(try await fork.read()[name] == nil)
            }
        }

        @Test(arguments: TestMode.allCases) func aForkBeginsAtEveryOffset(_ mode: TestMode) async throws {
            let (stream, offsets) = try await self.source(mode)
            for (offset, text) in zip(offsets, ["", "one", "onetwo", "onetwothree"]) {
                let (fork, answer) = try await stream.fork(["stream-fork-offset": offset])
                #expect(answer.status == 201)
                #expect(answer.offset == offset)
                let read = try await fork.read()
                #expect(read.text == text)
                #expect(read.isUpToDate)
                #expect(try await fork.read(answer.offset).status == 200)
                #expect(try await fork.append("!").status == 204)
                #expect(try await fork.read().text == text + "!")
            }
            #expect(try await stream.read().text == "onetwothree")
        }

        @Test(arguments: TestMode.allCases) func anUnknownSourceIs404(_ mode: TestMode) async throws {
            let (fork, answer) = try await mode.stream().fork()
            #expect(answer.status == 404)
            #expect(try await fork.head().status == 404)
        }

        @Test(arguments: TestMode.allCases, [RemoteStream.beyond, "abc", "-1", "now", "", "0,0"])
        func offsetsBeyondTheTailAndMalformedOnesAre400(_ mode: TestMode, _ offset: String) async throws {
            let (stream, _) = try await self.source(mode)
            let (fork, answer) = try await stream.fork(["stream-fork-offset": offset])
            #expect(answer.status == 400)
            #expect(try await fork.head().status == 404)
            // Nothing was left behind on the source.
            #expect(try await stream.delete().status == 204)
            #expect(try await stream.read().status == 404)
        }

        @Test(arguments: TestMode.allCases) func aTargetInUseIs409(_ mode: TestMode) async throws {
            let (stream, offsets) = try await self.source(mode)
            let target = try mode.stream()
            try await target.create()
            #expect(try await target.put(["stream-forked-from": stream.path]).status == 409)
            let (fork, _) = try await stream.fork(["stream-fork-offset": offsets[1]])
            #expect(
                try await fork.put(["stream-forked-from": stream.path, "stream-fork-offset": offsets[1]]).status == 200)
            #expect(
                try await fork.put(["stream-forked-from": stream.path, "stream-fork-offset": offsets[2]]).status == 409)
            #expect(try await fork.create().status == 409)
        }

        @Test(arguments: TestMode.allCases) func aClosedSourceIsForkedOpen(_ mode: TestMode) async throws {
            let (stream, _) = try await self.source(mode)
            try await stream.close()
            let (fork, answer) = try await stream.fork()
            #expect(answer.status == 201)
            #expect(!answer.isClosed)
            #expect(try await fork.append("!").status == 204)
            let read = try await fork.read()
            #expect(read.text == "onetwothree!")
            #expect(!read.isClosed)
        }

        @Test(arguments: TestMode.allCases) func anEmptySourceIsForked(_ mode: TestMode) async throws {
            let (stream, _) = try await self.source(mode, [])
            let (fork, answer) = try await stream.fork()
            #expect(answer.status == 201)
            try await fork.append("x")
            #expect(try await fork.read().text == "x")
            #expect(try await stream.fork(["stream-fork-offset": RemoteStream.start]).answer.status == 201)
            let sub = try await stream.fork([
                "stream-fork-offset": RemoteStream.start, "stream-fork-sub-offset": "1",
            ])
            #expect(sub.answer.status == 400)
        }

        @Test(arguments: TestMode.allCases) func theTypeIsInheritedOrEqual(_ mode: TestMode) async throws {
            let (stream, _) = try await self.source(mode)
            let (inherited, answer) = try await stream.fork()
            #expect(answer["content-type"] == "text/plain")
            #expect(try await inherited.head()["content-type"] == "text/plain")
            #expect(try await inherited.append("!").status == 204)
            #expect(try await stream.fork(type: "TEXT/plain").answer.status == 201)
            let other = try await stream.fork(type: "application/json")
            #expect(other.answer.status == 409)
            #expect(other.answer.code == "CONTENT_TYPE_MISMATCH")
            #expect(try await other.stream.head().status == 404)
        }

        @Test(arguments: TestMode.allCases) func subOffsetsCountBytes(_ mode: TestMode) async throws {
            let (stream, offsets) = try await self.source(mode)
            for (sub, text) in [("0", "one"), ("1", "onet"), ("2", "onetw"), ("3", "onetwo")] {
                let headers = ["stream-fork-offset": offsets[1], "stream-fork-sub-offset": sub]
                let (fork, answer) = try await stream.fork(headers)
                #expect(answer.status == 201)
                #expect(try await fork.read().text == text)
                #expect(try await fork.read(answer.offset).text == "")
                var again = headers
                again["stream-forked-from"] = stream.path
                #expect(try await fork.put(again).status == 200)
                if sub == "0" {
                    again["stream-fork-sub-offset"] = nil
                    #expect(try await fork.put(again).status == 200)
                }
                again["stream-fork-sub-offset"] = sub == "1" ? "2" : "1"
                #expect(try await fork.put(again).status == 409)
                #expect(try await fork.append("!").status == 204)
                #expect(try await fork.read().text == text + "!")
            }
            let over = try await stream.fork(["stream-fork-offset": offsets[1], "stream-fork-sub-offset": "4"])
            #expect(over.answer.status == 400)
            #expect(try await over.stream.head().status == 404)
        }

        @Test(arguments: TestMode.allCases) func subOffsetsCountMessages(_ mode: TestMode) async throws {
            let (stream, offsets) = try await self.messages(mode)
            let rows = [
                (offsets[0], "1", "[1]"), (offsets[0], "2", "[1,2]"), (offsets[0], "3", "[1,2,3]"),
                (offsets[1], "1", "[1,2,3,\"a,b\"]"), (offsets[1], "2", "[1,2,3,\"a,b\",{\"c\":[4,5]}]"),
            ]
            for (offset, sub, text) in rows {
                let headers = ["stream-fork-offset": offset, "stream-fork-sub-offset": sub]
                let (fork, answer) = try await stream.fork(headers)
                #expect(answer.status == 201)
                #expect(try await fork.read().text == text)
                #expect(try await fork.append("[\"own\",0]").status == 204)
                #expect(try await fork.read().text == text.dropLast() + ",\"own\",0]")
                #expect(try await fork.read(answer.offset).text == "[\"own\",0]")
            }
            for (offset, sub) in [(offsets[0], "4"), (offsets[1], "3"), (offsets[2], "1")] {
                let over = try await stream.fork(["stream-fork-offset": offset, "stream-fork-sub-offset": sub])
                #expect(over.answer.status == 400)
            }
        }

        @Test(arguments: TestMode.allCases, ["-1", "01", "", "abc", "1.5", "+1"])
        func malformedSubOffsetsAre400(_ mode: TestMode, _ sub: String) async throws {
            let (stream, offsets) = try await self.source(mode)
            let headers = ["stream-fork-offset": offsets[1], "stream-fork-sub-offset": sub]
            #expect(try await stream.fork(headers).answer.status == 400)
        }

        @Test(arguments: TestMode.allCases) func subOffsetsNeedAnOffsetAndASource(_ mode: TestMode) async throws {
            let (stream, _) = try await self.source(mode)
            #expect(try await stream.fork(["stream-fork-sub-offset": "1"]).answer.status == 400)
            for sub in ["0", "1"] {
                #expect(try await mode.stream().create(["stream-fork-sub-offset": sub]).status == 400)
            }
        }

        @Test(arguments: TestMode.allCases) func aBodyFollowsThePrefix(_ mode: TestMode) async throws {
            let (stream, offsets) = try await self.source(mode)
            let (fork, answer) = try await stream.fork(
                ["stream-fork-offset": offsets[1], "stream-fork-sub-offset": "1"], body: "<body>")
            #expect(answer.status == 201)
            #expect(try await fork.read().text == "onet<body>")
            #expect(try await fork.head().offset == answer.offset)
            let (closed, _) = try await stream.fork(["stream-closed": "true"], body: "!")
            let read = try await closed.read()
            #expect(read.text == "onetwothree!")
            #expect(read.isClosed)
        }

        @Test(arguments: TestMode.allCases, ["text/plain", "application/json"])
        func producersAndSequencesAreNotInherited(_ mode: TestMode, _ type: String) async throws {
            let stream = try mode.stream(type)
            try await stream.create()
            for seq in 0..<3 { _ = try await stream.produce("1", seq: "\(seq)", ["stream-seq": "\(5 + seq)"]) }
            let (fork, _) = try await stream.fork()
            let fresh = try await fork.produce("2", seq: "0", ["stream-seq": "1"])
            #expect(fresh.status == 200)
            #expect(try await fork.produce("2", "other", seq: "3").status == 409)
            #expect(try await stream.produce("2", seq: "3", ["stream-seq": "8"]).status == 200)
        }
    }

    @Suite struct ForkUse {
        @Test(arguments: TestMode.allCases) func readsCrossTheBoundary(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            try await stream.create()
            let first = try await stream.append("one").offset
            let second = try await stream.append("two").offset
            let (fork, _) = try await stream.fork()
            let third = try await fork.append("own").offset
            try await fork.append("more")
            #expect(try await fork.read().text == "onetwoownmore")
            #expect(try await fork.read(first).text == "twoownmore")
            #expect(try await fork.read(second).text == "ownmore")
            #expect(try await fork.read(third).text == "more")
            try await stream.append("later")
            #expect(try await fork.read().text == "onetwoownmore")
            #expect(try await stream.read().text == "onetwolater")
        }

        @Test(arguments: TestMode.allCases) func closingOneLeavesTheOther(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            try await stream.create(body: "x")
            let (one, _) = try await stream.fork()
            let (other, _) = try await stream.fork()
            try await one.close()
            #expect(try await stream.append("y").status == 204)
            try await stream.close()
            #expect(try await other.append("z").status == 204)
            #expect(try await one.read().isClosed)
            #expect(try await other.read().text == "xz")
            #expect(try await one.read().text == "x")
        }

        @Test(arguments: TestMode.allCases) func forksForkAgain(_ mode: TestMode) async throws {
            let a = try mode.stream()
            try await a.create(body: "A1")
            let (b, _) = try await a.fork()
            let middle = try await b.append("B1").offset
            try await b.append("B2")
            let (c, _) = try await b.fork()
            try await c.append("C1")
            let (d, _) = try await b.fork(["stream-fork-offset": middle])
            try await d.append("D1")
            try await a.append("A2")
            try await b.append("B3")
            #expect(try await a.read().text == "A1A2")
            #expect(try await b.read().text == "A1B1B2B3")
            #expect(try await c.read().text == "A1B1B2C1")
            #expect(try await d.read().text == "A1B1D1")
            // A place within what the middle one has inherited, and sub-offsets on top of each other.
            let (e, _) = try await c.fork(["stream-fork-offset": RemoteStream.start, "stream-fork-sub-offset": "1"])
            try await e.append("E")
            #expect(try await e.read().text == "AE")
            let (f, answer) = try await e.fork([
                "stream-fork-offset": RemoteStream.start, "stream-fork-sub-offset": "1",
            ])
            #expect(answer.status == 201)
            try await f.append("F")
            #expect(try await f.read().text == "AF")
        }

        @Test(arguments: TestMode.allCases) func inheritedDataComesAtOnceLive(_ mode: TestMode) async throws {
            try await EndpointServer.with(mode, { $0.services = { $0.live.longPollTimeout = 8000 } }) { server in
                let stream = server.client.stream()
                try await stream.create(body: "old")
                let (fork, answer) = try await stream.fork()
                #expect(try await fork.longPoll("-1").text == "old")
                async let poll = fork.longPoll(answer.offset)
                try await waitForReaders(of: fork, on: server)
                // Only the fork's own data wakes its reader.
                try await stream.append("source")
                try await fork.append("own")
                #expect(try await poll.text == "own")
                let reader = try await fork.events()
                try await reader.waitForData("oldown")
                try await stream.append("hidden")
                try await fork.append("next")
                try await reader.waitForData("next")
                #expect(reader.data.map(\.data).joined() == "oldownnext")
                await reader.close()
            }
        }

        @Test(arguments: TestMode.allCases) func messagesOfForksAreOneArray(_ mode: TestMode) async throws {
            let stream = try mode.stream("application/json")
            try await stream.create(body: "[1,[2]]")
            let (fork, _) = try await stream.fork(type: "application/json")
            try await fork.append("{\"own\":3}")
            #expect(try await fork.read().text == "[1,[2],{\"own\":3}]")
            let events = try await fork.events().untilUpToDate()
            #expect(events.filter { $0.name == "data" }.compactMap { $0.json?.arrayValue }.flatMap { $0 }.count == 3)
        }

        @Test(arguments: TestMode.allCases) func tenForksAreIndependent(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            try await stream.create(body: "base")
            var forks: [RemoteStream] = []
            for index in 0..<10 {
                let (fork, _) = try await stream.fork()
                try await fork.append("-\(index)")
                forks.append(fork)
            }
            try await stream.delete()
            for (index, fork) in forks.enumerated() {
                let read = try await fork.read()
                #expect(read.text == "base-\(index)")
            }
        }

        /// Inherited bytes out of a file and own ones out of memory, with others of the source in between.
        @Test(arguments: TestMode.allCases) func aLargeForkIsReadInWhole(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            let inherited = String(repeating: "i", count: 100_000)
            try await stream.create(body: inherited)
            try mode.server().directory.checkpoint()
            let (fork, _) = try await stream.fork()
            try await stream.append("later")
            try await fork.append("own")
            let answer = try await fork.read()
            #expect(answer.text == inherited + "own" && answer.isUpToDate)
        }
    }

    @Suite struct ForkDeletion {
        @Test(arguments: TestMode.allCases) func aForkGoesAlone(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            try await stream.create(body: "x")
            let (fork, _) = try await stream.fork()
            #expect(try await fork.delete().status == 204)
            #expect(try await fork.read().status == 404)
            #expect(try await stream.read().text == "x")
            #expect(try await stream.delete().status == 204)
            #expect(try await stream.read().status == 404)
        }

        @Test(arguments: TestMode.allCases) func aDeletedSourceStaysForItsForks(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            try await stream.create(body: "x")
            let (fork, _) = try await stream.fork()
            #expect(try await stream.delete().status == 204)
            #expect(try await fork.read().text == "x")
            let put = try await stream.create()
            #expect(put.status == 409)
            #expect(put.code == "PATH_BLOCKED")
            #expect(try await stream.read().status == 410)
            #expect(try await stream.head().status == 410)
            #expect(try await stream.append("y").status == 410)
            #expect(try await stream.delete().status == 410)
            #expect(try await stream.longPoll("-1").status == 410)
            let again = try await stream.fork()
            #expect(again.answer.status == 409)
            #expect(again.answer.code == "FORK_FROM_TOMBSTONE")
            #expect(try await fork.delete().status == 204)
            #expect(try await stream.read().status == 404)
            #expect(try await stream.create().status == 201)
            #expect(try await stream.read().text == "")
        }

        @Test(arguments: TestMode.allCases) func chainsAreCollected(_ mode: TestMode) async throws {
            let a = try mode.stream()
            try await a.create(body: "a")
            let (b, _) = try await a.fork(body: "b")
            let (c, _) = try await b.fork(body: "c")
            try await a.delete()
            try await b.delete()
            #expect(try await c.read().text == "abc")
            #expect(try await a.read().status == 410)
            #expect(try await b.read().status == 410)
            try await c.delete()
            for stream in [a, b, c] { #expect(try await stream.read().status == 404) }
            // The middle of a chain.
            let d = try mode.stream()
            try await d.create(body: "d")
            let (e, _) = try await d.fork(body: "e")
            let (f, _) = try await e.fork(body: "f")
            try await e.delete()
            #expect(try await f.read().text == "def")
            try await f.delete()
            #expect(try await e.read().status == 404)
            #expect(try await d.read().text == "d")
        }
    }

    @Suite struct ForkExpiry {
        private func deadline(_ server: EndpointServer, in seconds: UInt64) -> String {
            Timestamp.text(milliseconds: server.clock.now() + seconds * 1000)
        }

        @Test(arguments: TestMode.allCases) func deadlinesAreInheritedOrOwn(_ mode: TestMode) async throws {
            try await EndpointServer.with(mode) { server in
                let stream = server.client.stream()
                let text = self.deadline(server, in: 300)
                try await stream.create(["stream-expires-at": text], body: "x")
                let (inherited, _) = try await stream.fork()
                #expect(try await inherited.head()["stream-expires-at"] == text)
                let (shorter, _) = try await stream.fork(["stream-ttl": "90"])
                #expect(try await shorter.head()["stream-ttl"] == "90")
                #expect(try await shorter.head()["stream-expires-at"] == nil)
                let (later, _) = try await stream.fork(["stream-expires-at": self.deadline(server, in: 3000)])
                server.clock.advance(seconds: 150)
                #expect(try await shorter.head().status == 404)
                #expect(try await inherited.head().status == 200)
                server.clock.advance(seconds: 210)
                #expect(try await inherited.head().status == 404)
                #expect([404, 410].contains(try await stream.read().status))
                #expect(try await later.read().text == "x")
            }
        }

        @Test(arguments: TestMode.allCases) func lifetimesAreInheritedOrOwn(_ mode: TestMode) async throws {
            try await EndpointServer.with(mode) { server in
                let stream = server.client.stream()
                try await stream.create(["stream-ttl": "300"], body: "x")
                let (inherited, _) = try await stream.fork()
                #expect(try await inherited.head()["stream-ttl"] == "300")
                let (longer, _) = try await stream.fork(["stream-ttl": "30000"])
                #expect(try await longer.head()["stream-ttl"] == "30000")
                for _ in 0..<2 {
                    server.clock.advance(seconds: 210)
                    #expect(try await inherited.read().text == "x")
                }
                #expect([404, 410].contains(try await stream.read().status))
                #expect(try await inherited.read().text == "x")
                server.clock.advance(seconds: 600)
                #expect(try await inherited.read().status == 404)
                #expect(try await longer.read().text == "x")
            }
        }

        @Test(arguments: TestMode.allCases) func anExpiredForkFreesItsSource(_ mode: TestMode) async throws {
            try await EndpointServer.with(mode) { server in
                let stream = server.client.stream()
                try await stream.create(body: "x")
                let (fork, _) = try await stream.fork(["stream-ttl": "60"])
                try await stream.delete()
                #expect(try await stream.read().status == 410)
                server.clock.advance(seconds: 150)
                #expect(try await fork.read().status == 404)
                #expect(try await stream.read().status == 404)
                #expect(try await stream.create().status == 201)
            }
        }
    }
}
