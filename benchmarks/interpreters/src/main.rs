//! A runtime at work on a kernel: `interpreters NAME FILE SIZE CALLS` prints the checksum of the
//! function `run` and the processor time of all calls in nanoseconds, as the kernels in C do.

use std::process::exit;

/// A module's function `run`, ready to be called.
type Run = Box<dyn FnMut(i32) -> Result<i32, String>>;

#[cfg(any(feature = "silverfir", feature = "silverfir-jit"))]
fn silverfir(module: &[u8]) -> Result<Run, String> {
    use sf_nano_core::{Config, Engine, Instance, Value};

    let engine = Engine::new(Config::new()).map_err(|error| format!("{error:?}"))?;
    let mut instance = Instance::new(&engine, module, &[]).map_err(|error| format!("{error:?}"))?;
    let run = instance.get_func("run").ok_or("no function run")?;
    Ok(Box::new(move |size| {
        let mut results = [Value::I32(0)];
        instance.call(&run, &[Value::I32(size)], &mut results).map_err(|error| format!("{error:?}"))?;
        match results[0] {
            Value::I32(result) => Ok(result),
            _ => Err("the result is not an i32".into()),
        }
    }))
}

#[cfg(feature = "wasm3")]
fn wasm3(module: &[u8]) -> Result<Run, String> {
    use std::ffi::CStr;
    use std::os::raw::c_char;
    use std::ptr::null_mut;
    use wasm3x_sys::*;

    const STACK: u32 = 1 << 20;

    fn check(result: *const c_char) -> Result<(), String> {
        if result.is_null() {
            return Ok(());
        }
        // SAFETY: a result of wasm3 is NULL or one of its constant strings.
        Err(unsafe { CStr::from_ptr(result) }.to_string_lossy().into_owned())
    }

    // The module's bytes, environment and runtime are used until the process ends.
    let module: &'static [u8] = Box::leak(module.into());
    let mut function = null_mut();
    // SAFETY: each call gets what the ones before it made.
    unsafe {
        let environment = m3_NewEnvironment();
        let runtime = m3_NewRuntime(environment, STACK, null_mut());
        let mut parsed = null_mut();
        check(m3_ParseModule(environment, &mut parsed, module.as_ptr(), module.len() as u32))?;
        check(m3_LoadModule(runtime, parsed))?;
        check(m3_FindFunction(&mut function, runtime, c"run".as_ptr()))?;
    }
    Ok(Box::new(move |size| {
        let mut result = 0i32;
        // SAFETY: the kernels' function takes an i32 and returns one.
        unsafe {
            let mut arguments = [(&raw const size).cast()];
            check(m3_Call(function, 1, arguments.as_mut_ptr()))?;
            let mut results = [(&raw const result).cast()];
            check(m3_GetResults(function, 1, results.as_mut_ptr()))?;
            result = (&raw const result).read_volatile();
        }
        Ok(result)
    }))
}

fn load(name: &str, module: &[u8]) -> Result<Run, String> {
    match name {
        #[cfg(any(feature = "silverfir", feature = "silverfir-jit"))]
        "silverfir" | "silverfir-jit" => silverfir(module),
        #[cfg(feature = "wasm3")]
        "wasm3" => wasm3(module),
        _ => Err(format!("{name} is not built in")),
    }
}

fn processor_time() -> u128 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes into `now` and keeps nothing.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut now) };
    now.tv_sec as u128 * 1_000_000_000 + now.tv_nsec as u128
}

fn measure(arguments: &[String]) -> Result<(u32, u128), String> {
    let [name, file, size, calls] = arguments else {
        return Err("usage: interpreters NAME FILE SIZE CALLS".into());
    };
    let module = std::fs::read(file).map_err(|error| format!("{file}: {error}"))?;
    let size: u32 = size.parse().map_err(|_| format!("{size} is not a size"))?;
    let calls: u32 = calls.parse().map_err(|_| format!("{calls} is not a number of calls"))?;
    let mut run = load(name, &module)?;
    let mut result = 0;
    let start = processor_time();
    for _ in 0..calls {
        result = run(size as i32)?;
    }
    Ok((result as u32, processor_time() - start))
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match measure(&arguments) {
        Ok((result, nanoseconds)) => println!("{result} {nanoseconds}"),
        Err(error) => {
            eprintln!("{error}");
            exit(1);
        }
    }
}
