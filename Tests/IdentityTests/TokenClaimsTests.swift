import Testing

@testable import Identity

@Suite("Claims")
struct TokenClaimsTests {
    private let issuer: TestIssuer

    init() throws {
        self.issuer = try TestIssuer(.hs256)
    }

    private func refusal(of payload: String, by verifier: TokenVerifier) throws -> TokenError? {
        let token = try self.issuer.token(payload: payload)
        do throws(TokenError) {
            _ = try verifier.verify(token, now: TestIssuer.now)
            return nil
        } catch {
            return error
        }
    }

    @Test(arguments: [
        (#"{"sub":"u","exp":1700003600}"#, "Missing required \"iat\" claim"),
        (#"{"sub":"u","iat":1700000000}"#, "Missing required \"exp\" claim"),
        (#"{"sub":"u","iat":1700000000,"exp":1700003600,"aud":"a"}"#, "Missing required \"iss\" claim"),
        (#"{"sub":"u","iat":1700000000,"exp":1700003600,"iss":"i"}"#, "Missing required \"aud\" claim"),
        (#"{"sub":"u","iat":"1700000000","exp":1700003600,"iss":"i","aud":"a"}"#, "Invalid \"iat\" claim value"),
        (#"{"sub":"u","iat":null,"exp":1700003600,"iss":"i","aud":"a"}"#, "Invalid \"iat\" claim value"),
        (#"{"sub":"u","iat":1700000103,"exp":1700003600,"iss":"i","aud":"a"}"#, "Invalid \"iat\" claim value"),
        (#"{"sub":"u","iat":1700000000,"exp":"soon","iss":"i","aud":"a"}"#, "Invalid \"exp\" claim value"),
        (#"{"sub":"u","iat":1700000000,"exp":true,"iss":"i","aud":"a"}"#, "Invalid \"exp\" claim value"),
        (#"{"sub":"u","iat":1700000000,"exp":-1,"iss":"i","aud":"a"}"#, "Expired token"),
        (#"{"sub":"u","iat":1700000000,"exp":1700000097,"iss":"i","aud":"a"}"#, "Expired token"),
        (#"{"sub":"u","iat":1,"exp":1700003600,"nbf":1700000103,"iss":"i","aud":"a"}"#, "Token is not yet valid"),
        (#"{"sub":"u","iat":1,"exp":1700003600,"nbf":{},"iss":"i","aud":"a"}"#, "Invalid \"nbf\" claim value"),
        (#"{"sub":"u","iat":1,"exp":1700003600,"iss":"I","aud":"a"}"#, "Invalid \"iss\" claim value"),
        (#"{"sub":"u","iat":1,"exp":1700003600,"iss":["i"],"aud":"a"}"#, "Invalid \"iss\" claim value"),
        (#"{"sub":"u","iat":1,"exp":1700003600,"iss":"i","aud":"A"}"#, "Invalid \"aud\" claim value"),
        (#"{"sub":"u","iat":1,"exp":1700003600,"iss":"i","aud":["b","c"]}"#, "Invalid \"aud\" claim value"),
        (#"{"sub":"u","iat":1,"exp":1700003600,"iss":"i","aud":[["a"]]}"#, "Invalid \"aud\" claim value"),
        (#"{"sub":"u","iat":1,"exp":1700003600,"iss":"i","aud":[]}"#, "Invalid \"aud\" claim value"),
        (#"{"sub":"","iat":1,"exp":1700003600,"iss":"i","aud":"a"}"#, "Missing or invalid 'user_id'"),
        (#"{"sub":" \t","iat":1,"exp":1700003600,"iss":"i","aud":"a"}"#, "Missing or invalid 'user_id'"),
        (#"{"sub":7,"iat":1,"exp":1700003600,"iss":"i","aud":"a"}"#, "Missing or invalid 'user_id'"),
        (#"{"iat":1,"exp":1700003600,"iss":"i","aud":"a"}"#, "Missing or invalid 'user_id'"),
    ])
    func eachClaimIsChecked(payload: String, text: String) throws {
        let verifier = try self.issuer.verifier(issuer: "i", audience: "a")
        #expect(try self.refusal(of: payload, by: verifier)?.text == text)
    }

    @Test(arguments: [
        #"{"sub":"u","iat":1700000102,"exp":1700003600}"#,
        #"{"sub":"u","iat":1700000000,"exp":1700000098}"#,
        #"{"sub":"u","iat":1700000000,"exp":1700003600,"nbf":1700000102}"#,
        #"{"sub":"u","iat":1700000000.5,"exp":1.7000036e9}"#,
        #"{"sub":"u","iat":-5,"exp":99999999999999999999}"#,
        #"{"sub":"u","iat":0,"exp":1700003600,"aud":["x"],"iss":"anyone"}"#,
        #"{"sub":null,"user_id":"u","iat":0,"exp":1700003600}"#,
        #"{"user_id":"u","iat":0,"exp":1700003600}"#,
        #"{"sub":"u","user_id":"other","iat":0,"exp":1700003600}"#,
    ])
    func twoSecondsOfDriftAndUncheckedClaimsPass(payload: String) throws {
        let token = try self.issuer.token(payload: payload)
        #expect(try self.issuer.verifier().verify(token, now: TestIssuer.now).userID == "u")
    }

    @Test(arguments: [#""a""#, #"["a"]"#, #"["b",1,"a"]"#])
    func theAudienceMayBeOneOfSeveral(audience: String) throws {
        let token = try self.issuer.token(payload: #"{"sub":"u","iat":1,"exp":1700003600,"aud":\#(audience)}"#)
        #expect(try self.issuer.verifier(audience: "a").verify(token, now: TestIssuer.now).userID == "u")
    }

    @Test func issuersAreComparedByBytes() throws {
        // The same accented letter, composed and decomposed.
        let token = try self.issuer.token(payload: "{\"sub\":\"u\",\"iat\":1,\"exp\":1700003600,\"iss\":\"\u{e9}\"}")
        let verifier = try self.issuer.verifier(issuer: "e\u{301}")
        #expect(throws: TokenError.invalidClaim("iss")) { try verifier.verify(token, now: TestIssuer.now) }
    }

    @Test func withANamespaceOnlyTheNamespaceNamesTheUser() throws {
        let verifier = try self.issuer.verifier(namespace: "https://example.com")
        let times = #""iat":1,"exp":1700003600"#
        for (claims, user) in [
            (#""https://example.com":{"sub":"inner"},"sub":"outer""#, "inner"),
            (#""https://example.com":{"user_id":"inner"},"sub":"outer""#, "inner"),
            (#""https://example.com":{"sub":"inner","user_id":"x"}"#, "inner"),
        ] {
            let token = try self.issuer.token(payload: "{\(claims),\(times)}")
            #expect(try verifier.verify(token, now: TestIssuer.now).userID == user)
        }
        for claims in [
            #""sub":"outer""#, #""https://example.com":{},"sub":"outer""#,
            #""https://example.com":"inner","sub":"outer""#,
            #""https://example.com":[{"sub":"inner"}]"#, #""https://example.com.evil":{"sub":"inner"}"#,
            #""https://example.com":{"https://example.com":{"sub":"inner"}}"#,
        ] {
            #expect(try self.refusal(of: "{\(claims),\(times)}", by: verifier)?.code == .missingUserID, "\(claims)")
        }
        // The times are those of the top level.
        let payload = #"{"https://example.com":{"sub":"inner","iat":1,"exp":1700003600}}"#
        #expect(try self.refusal(of: payload, by: verifier) == .missingClaim("iat"))
    }
}
