// Something that one flow waits for and another one does.
export function signal(): { readonly came: Promise<void>; send(): void } {
  let send = (): void => {};
  const came = new Promise<void>((resolve) => {
    send = resolve;
  });
  return { came, send };
}

/** Everything that is due in this process has had its turn. */
export const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
