//! Archives of this writer and of other tools, whole, damaged and malicious.

use std::fs;
use std::io::Cursor;
use std::path::Path;
use std::process::Command;

use proptest::prelude::*;

use super::directory::Entry;
use super::*;
use crate::name;

fn write(path: &Path, files: &[(&str, bool, &[u8])]) {
    let mut writer = Writer::new(fs::File::create(path).unwrap());
    for (name, executable, content) in files {
        writer.add(name, *executable, &mut Cursor::new(content), &mut |_| {}).unwrap();
    }
    writer.finish().unwrap();
}

/// Everything in it.
fn read(path: &Path) -> Result<Vec<(String, Vec<u8>)>, ZipError> {
    let archive = Archive::open(fs::File::open(path).unwrap())?;
    let content = |entry: &Entry| Ok((entry.name.clone(), archive.read(entry, 1 << 30)?));
    archive.entries().map(content).collect()
}

fn refused(path: &Path) -> String {
    match read(path).unwrap_err() {
        ZipError::Damaged(why) => format!("damaged: {why}"),
        ZipError::Dangerous(why) => format!("dangerous: {why}"),
        ZipError::Io(error) | ZipError::Sink(error) => format!("io: {error}"),
    }
}

/// Content that deflates well, and content that does not.
fn contents() -> (Vec<u8>, Vec<u8>) {
    let mut noise = vec![0; 300_000];
    getrandom::fill(&mut noise).unwrap();
    (b"all work and no play ".repeat(20_000), noise)
}

fn python(dir: &Path, program: &str) {
    let done =
        Command::new("python3").arg("-c").arg(program).current_dir(dir).output().expect("python3 runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn what_is_written_is_read_again_and_the_same_files_give_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let (text, noise) = contents();
    let files = [("a/text", false, &text[..]), ("noise", true, &noise), ("empty", false, b"")];
    let (one, two) = (dir.path().join("one.zip"), dir.path().join("two.zip"));
    write(&one, &files);
    write(&two, &files);
    assert_eq!(fs::read(&one).unwrap(), fs::read(&two).unwrap());
    let expected: Vec<(String, Vec<u8>)> =
        files.map(|(name, _, content)| (name.to_owned(), content.to_vec())).into();
    assert_eq!(read(&one).unwrap(), expected);
    let length = fs::metadata(&one).unwrap().len();
    assert!(length < noise.len() as u64 + 5_000, "{length}: text is deflated and noise is stored");
}

#[test]
fn python_reads_what_is_written_here() {
    let dir = tempfile::tempdir().unwrap();
    let (text, noise) = contents();
    write(&dir.path().join("p.zip"), &[("a/text", false, &text), ("noise", true, &noise)]);
    python(
        dir.path(),
        "import zipfile\n\
         z = zipfile.ZipFile('p.zip')\n\
         assert z.testzip() is None\n\
         assert z.namelist() == ['a/text', 'noise'], z.namelist()\n\
         assert [oct(i.external_attr >> 16) for i in z.infolist()] == ['0o100644', '0o100755']\n\
         open('text', 'wb').write(z.read('a/text')); open('noise', 'wb').write(z.read('noise'))\n",
    );
    assert_eq!(fs::read(dir.path().join("text")).unwrap(), text);
    assert_eq!(fs::read(dir.path().join("noise")).unwrap(), noise);
}

/// Written to a pipe, sizes come after the content, as Go's archive/zip always does it.
#[test]
fn what_python_writes_is_read_here_streamed_too() {
    let dir = tempfile::tempdir().unwrap();
    python(
        dir.path(),
        "import zipfile, io\n\
         class Pipe(io.RawIOBase):\n    \
         def __init__(s, f): s.f = f\n    \
         def writable(s): return True\n    \
         def write(s, b): return s.f.write(b)\n    \
         def flush(s): s.f.flush()\n\
         for name, file in (('seeked.zip', open('seeked.zip', 'wb')), ('streamed.zip', Pipe(open('streamed.zip', 'wb')))):\n    \
         z = zipfile.ZipFile(file, 'w', zipfile.ZIP_DEFLATED)\n    \
         z.mkdir('d') if hasattr(z, 'mkdir') else z.writestr('d/', b'')\n    \
         z.writestr('d/text', b'text' * 9000); z.writestr('empty', b'')\n    \
         z.close(); file.flush()\n",
    );
    for name in ["seeked.zip", "streamed.zip"] {
        let expected = [("d/text".to_owned(), b"text".repeat(9000)), ("empty".to_owned(), Vec::new())];
        assert_eq!(read(&dir.path().join(name)).unwrap(), expected, "{name}");
    }
}

/// Archives made by a tool that lets one do anything, and how they are refused.
#[test]
fn malicious_archives_are_refused_with_their_cause() {
    let cases = [
        ("z.writestr('../../etc/passwd', 'x')", "dangerous: the path \"../../etc/passwd\" leaves its folder"),
        ("z.writestr('/etc/passwd', 'x')", "dangerous: the path \"/etc/passwd\" is absolute"),
        ("z.writestr('a\\\\b', 'x')", "dangerous: the path \"a\\\\b\" has a character"),
        ("z.writestr('ü', 'x')", "dangerous: a file name that is not plain ASCII"),
        ("z.writestr('.bashrc', 'x')", "dangerous: the path \".bashrc\" is a hidden file"),
        ("z.writestr('a', 'x'); z.writestr('a', 'y')", "dangerous: \"a\" is there twice"),
        (
            "z.writestr('info.json', 'x'); z.writestr('INFO.json', 'y')",
            "dangerous: \"INFO.json\" is there twice",
        ),
        ("z.writestr('a', 'x'); z.writestr('a/b', 'y')", "dangerous: \"a\" is a file and a folder"),
        ("i.external_attr = 0o120777 << 16; z.writestr(i, '/etc')", "dangerous: x is a link, a device"),
        ("i.external_attr = 0o020666 << 16; z.writestr(i, '')", "dangerous: x is a link, a device"),
        ("i.external_attr = 0o010666 << 16; z.writestr(i, '')", "dangerous: x is a link, a device"),
        ("i.external_attr = 0o104755 << 16; z.writestr(i, '')", "dangerous: x has the special mode 4755"),
        ("z.writestr('x', b'0' * 50_000_000)", "dangerous: x unpacks to 50000000 bytes from"),
        ("z.comment = b'hello'; z.writestr('x', 'x')", "damaged: it does not end as a zip archive does"),
        ("[z.writestr(f'f{n}', '') for n in range(2100)]", "dangerous: 2100 files, more than 2000"),
        ("z.writestr('x', 'x' * 9, zipfile.ZIP_BZIP2)", "damaged: x is compressed in a way"),
    ];
    let dir = tempfile::tempdir().unwrap();
    for (made, expected) in cases {
        let program = format!(
            "import zipfile, warnings\nwarnings.simplefilter('ignore')\nz = zipfile.ZipFile('x.zip', 'w', zipfile.ZIP_DEFLATED)\n\
             i = zipfile.ZipInfo('x'); i.create_system = 3\n{made}\nz.close()\n"
        );
        python(dir.path(), &program);
        let why = refused(&dir.path().join("x.zip"));
        assert!(why.starts_with(expected), "{made}: {why}");
    }
}

#[test]
fn what_is_hidden_before_between_or_after_files_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.zip");
    write(&path, &[("a", false, b"first"), ("b", false, b"second")]);
    let good = fs::read(&path).unwrap();
    let try_with = |bytes: Vec<u8>| {
        fs::write(&path, bytes).unwrap();
        refused(&path)
    };
    assert!(try_with([b"#!/bin/sh\n", &good[..]].concat()).contains("not where it should be"));
    assert!(try_with([&good[..], b"x"].concat()).contains("something after its end"));
    assert!(try_with(good[..good.len() - 1].to_vec()).contains("cut off"));
    assert!(try_with(b"PK".to_vec()).contains("no zip archive"));
    assert!(try_with(Vec::new()).contains("no zip archive"));

    // the directory does not mention the first file any more
    let first = good.windows(4).position(|w| w == CENTRAL.to_le_bytes()).unwrap();
    let (_, rest) = good.split_at(first + CENTRAL_LEN + 1);
    let mut hiding = [&good[..first], rest].concat();
    let end = hiding.len() - END_LEN;
    hiding[end + 8..end + 12].copy_from_slice(&[1, 0, 1, 0]);
    let size = u32_at(&hiding, end + 12) - (CENTRAL_LEN as u32 + 1);
    hiding[end + 12..end + 16].copy_from_slice(&size.to_le_bytes());
    assert!(try_with(hiding).contains("something hidden before b"));

    let name = good.windows(1).position(|w| w == b"a").unwrap();
    let mut two_names = good.clone();
    two_names[name] = b'c';
    assert!(try_with(two_names).contains("a is described in two different ways"));
    let mut content = good.clone();
    content[name + 1] ^= 1;
    assert!(try_with(content).contains("a has other content than it should"));
}

#[test]
fn a_file_that_unpacks_to_more_than_it_says_is_stopped_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.zip");
    let much = vec![7; 400_000];
    write(&path, &[("x", false, &much)]);
    let mut bytes = fs::read(&path).unwrap();
    let small = 1000_u32.to_le_bytes();
    bytes[22..26].copy_from_slice(&small);
    let central = bytes.windows(4).rposition(|w| w == CENTRAL.to_le_bytes()).unwrap();
    bytes[central + 24..central + 28].copy_from_slice(&small);
    fs::write(&path, bytes).unwrap();
    let archive = Archive::open(fs::File::open(&path).unwrap()).unwrap();
    let mut came = 0;
    let result = archive.unpack(archive.entry("x").unwrap(), &mut |block| {
        came += block.len();
        Ok(())
    });
    assert!(matches!(result, Err(ZipError::Dangerous(why)) if why.contains("more than it says")));
    assert!(came <= 1000, "{came}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Whatever happens to the bytes: the very same files, or a refusal; never a panic, never more.
    #[test]
    fn damaged_archives_give_the_same_files_or_are_refused(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.zip");
        let text = b"text ".repeat(50);
        write(&path, &[("a/b", false, &text), ("c", true, b"short")]);
        let good = read(&path).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        for (at, with) in changes {
            let at = at.index(bytes.len());
            bytes[at] = with;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        fs::write(&path, bytes).unwrap();
        if let Ok(found) = read(&path) {
            for (name, content) in found {
                prop_assert!(name::wrong_path(&name).is_none());
                prop_assert!(good.iter().any(|(_, known)| *known == content));
            }
        }
    }

    #[test]
    fn any_bytes_with_a_good_end_are_read_without_a_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200), entries in 0..5_u16, size in 0..200_u32,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.zip");
        let offset = (bytes.len() as u32).saturating_sub(size);
        let mut end = END.to_le_bytes().to_vec();
        end.extend([0; 4]);
        end.extend([entries.to_le_bytes(), entries.to_le_bytes()].concat());
        end.extend([(bytes.len() as u32 - offset).to_le_bytes(), offset.to_le_bytes()].concat());
        end.extend([0; 2]);
        fs::write(&path, [bytes, end].concat()).unwrap();
        let _ = read(&path);
    }
}
