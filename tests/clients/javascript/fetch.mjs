// The AWS SDK for JavaScript as a client: one fetch for each line on standard input, answered by a
// line with the access key id or with the error.

import { createInterface } from "node:readline";

import { defaultProvider } from "@aws-sdk/credential-provider-node";

const provider = defaultProvider();
for await (const _ of createInterface({ input: process.stdin })) {
  try {
    console.log((await provider()).accessKeyId);
  } catch (error) {
    console.log("error:", String(error).replaceAll(/\s+/g, " "));
  }
}
