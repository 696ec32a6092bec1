// A reporter of node:test: one JSON line a test, for `cargo xtask compat`.

export default async function* report(events) {
  for await (const { type, data } of events) {
    if (type !== 'test:pass' && type !== 'test:fail') continue;
    if (data.details?.type === 'suite') continue;
    const error = data.details?.error;
    yield `${JSON.stringify({
      row: data.name,
      ok: type === 'test:pass' && data.skip === undefined && data.todo === undefined,
      millis: Math.round(data.details?.duration_ms ?? 0),
      ...(error && { error: String(error.cause?.message ?? error.message ?? error).slice(0, 2000) }),
    })}\n`;
  }
}
