'use client';
// The same in Next.js, which renders it on the server first.
import { GuidedDiffusion } from 'guided-diffusion';
import { useEffect, useState } from 'react';

export default function Page() {
  const [said, say] = useState('starting');
  useEffect(() => {
    GuidedDiffusion.create().then(
      (engine) => {
        say(`adapter: ${engine.adapter.name}`);
        engine.dispose();
      },
      (error) => say(`${error.code}: ${error.message}`),
    );
  }, []);
  return <output>{said}</output>;
}
