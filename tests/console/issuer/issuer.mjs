// A real OpenID provider (npm `oidc-provider`, certified) with a few people, for the tests of signing in.
// node issuer.mjs REDIRECT_URI -> prints "issuer http://127.0.0.1:PORT" once it serves.
import { createServer } from "node:http";
import { generateKeyPairSync } from "node:crypto";

// It warns that it is for development only, which a test is.
console.warn = () => {};
const { Provider } = await import("oidc-provider");

const people = {
  dana: { email: "dana@shop.example", email_verified: true, roles: ["finance", "operator"], tenants: ["acme"] },
  otto: { email: "otto@shop.example", email_verified: true, roles: ["finance", "operator"], tenants: ["other"] },
  vera: { email: "vera@shop.example", email_verified: false, tenants: ["acme"] },
};

const key = (kid) => {
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  return { ...privateKey.export({ format: "jwk" }), kid, alg: "RS256", use: "sig" };
};

const server = createServer((request, response) => provider.callback()(request, response));
server.listen(0, "127.0.0.1");
await new Promise((ready) => server.once("listening", ready));
// Another site than the console, as it is in earnest: browsers take ports of one name for one site.
const issuer = `http://localhost:${server.address().port}`;
const provider = new Provider(issuer, {
  clients: [{
    client_id: "tollhouse-console",
    client_secret: "a-secret-of-the-console: & that needs +coding%",
    redirect_uris: [process.argv[2]],
    response_types: ["code"],
    grant_types: ["authorization_code"],
    token_endpoint_auth_method: "client_secret_basic",
  }],
  jwks: { keys: [key("one")] },
  cookies: { keys: ["a key of the tests"] },
  pkce: { required: () => true },
  claims: { openid: ["sub"], email: ["email", "email_verified"], console: ["roles", "tenants"] },
  conformIdTokenClaims: false,
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, ...people[id] }) }),
  features: { devInteractions: { enabled: true } },
});
console.log(`issuer ${issuer}`);
