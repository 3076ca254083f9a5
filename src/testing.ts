// The door for tests of apps: `import { testApp } from "flambeau/testing"`.

// What stands in for Python.
export { type FakeImage, type FakeModules, fakeError, fakeImage, type Recorded } from "./testing/fake-modules.ts";
// An app, set up, its endpoints ready to be called.
export { type FakeOptions, type RealOptions, type TestedApp, testApp } from "./testing/test-app.ts";
