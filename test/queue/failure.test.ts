import { describe, expect, test } from "vitest";
import { PyError } from "../../src/errors.ts";
import { failureOf } from "../../src/queue/failure.ts";

describe("failureOf", () => {
  test("keeps what Python said", () => {
    const error = new PyError({
      pythonType: "ValueError",
      mro: [],
      message: "no",
      traceback: "Traceback…",
      callPath: "x()",
    });
    expect(failureOf(error)).toEqual({
      stack: expect.stringContaining("failure.test.ts"),
      code: "PYTHON_RAISED",
      message: "ValueError: no",
      retryable: false,
      pythonType: "ValueError",
      traceback: "Traceback…",
    });
  });

  test("makes a failure of anything thrown", () => {
    expect(failureOf("oh")).toMatchObject({ code: "INTERNAL", message: "oh", retryable: false });
  });
});
