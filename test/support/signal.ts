// Something that one flow waits for and another one does.
export function signal(): { readonly came: Promise<void>; send(): void } {
  let send = (): void => {};
  const came = new Promise<void>((resolve) => {
    send = resolve;
  });
  return { came, send };
}
