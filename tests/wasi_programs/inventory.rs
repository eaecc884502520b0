// Reads a file of "name quantity" lines, writes a sorted report beside it, checks it, and lists the directory.
use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

fn parse(input: impl Read) -> io::Result<BTreeMap<String, i64>> {
    let mut totals = BTreeMap::new();
    for line in BufReader::new(input).lines() {
        let line = line?;
        let mut words = line.split_whitespace();
        if let (Some(name), Some(Ok(quantity))) = (words.next(), words.next().map(str::parse::<i64>)) {
            *totals.entry(name.to_string()).or_insert(0) += quantity;
        }
    }
    Ok(totals)
}

fn report(directory: &Path, totals: &BTreeMap<String, i64>) -> io::Result<u64> {
    let path = directory.join("report.txt");
    let mut file = File::create(&path)?;
    for (name, total) in totals {
        writeln!(file, "{name:>10} {total:6}")?;
    }
    drop(file);
    let mut file = OpenOptions::new().read(true).append(true).open(&path)?;
    writeln!(file, "{:>10} {:6}", "all", totals.values().sum::<i64>())?;
    file.seek(SeekFrom::Start(0))?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    print!("{text}");
    Ok(fs::metadata(&path)?.len())
}

fn run() -> io::Result<usize> {
    let directory = env::args().nth(1).unwrap_or_else(|| ".".to_string());
    let directory = Path::new(&directory);
    let totals = parse(File::open(directory.join("stock.txt"))?)?;
    println!("{} bytes", report(directory, &totals)?);
    fs::create_dir(directory.join("old"))?;
    fs::rename(directory.join("stock.txt"), directory.join("old/stock.txt"))?;
    let mut names: Vec<_> = fs::read_dir(directory)?
        .map(|entry| entry.map(|entry| entry.file_name().into_string().unwrap()))
        .collect::<io::Result<_>>()?;
    names.sort();
    println!("{names:?}");
    let start = Instant::now();
    std::thread::sleep(Duration::from_millis(5));
    println!("slept {}", start.elapsed() >= Duration::from_millis(5));
    match File::open(directory.join("missing")) {
        Ok(_) => println!("opened what is not there"),
        Err(error) => println!("missing: {:?}", error.kind()),
    }
    Ok(totals.len())
}

fn main() -> ExitCode {
    match run() {
        Ok(count) => ExitCode::from(count as u8),
        Err(error) => {
            eprintln!("failed: {error}");
            ExitCode::from(99)
        }
    }
}
