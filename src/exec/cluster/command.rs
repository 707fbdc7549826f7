//! Any batch system, by the commands of a profile.

use std::time::Duration;

use super::batch::{Batch, Handed, How, Line, Refusal, Word, call};
use crate::profile::{CommandState, Commands};

/// How long a command may take.
const PATIENCE: Duration = Duration::from_secs(60);

impl Commands {
    fn submit_words(&self, batch: &Handed, task: usize) -> Vec<String> {
        let shape = &batch.shape;
        let values = [
            (
                "{script}",
                batch.dir.join(format!("{task}.sh")).display().to_string(),
            ),
            (
                "{output}",
                batch.dir.join(format!("{task}.out")).display().to_string(),
            ),
            ("{name}", format!("clcc-{}", batch.name)),
            ("{cores}", shape.cores.to_string()),
            ("{memory_mb}", shape.memory_mb.to_string()),
            ("{memory_kb}", (shape.memory_mb * 1024).to_string()),
            ("{minutes}", shape.minutes.to_string()),
            (
                "{hms}",
                format!("{:02}:{:02}:00", shape.minutes / 60, shape.minutes % 60),
            ),
        ];
        let fill = |word: &String| {
            values
                .iter()
                .fold(word.clone(), |w, (name, value)| w.replace(name, value))
        };
        self.submit.iter().map(fill).collect()
    }

    /// The id in what `submit` printed.
    fn id_of(&self, said: &str) -> Option<String> {
        let line = said.lines().find(|l| !l.trim().is_empty())?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let word = match self.submit_id {
            Some(nth) => *words.get(nth - 1)?,
            None => *words
                .iter()
                .find(|w| w.contains(|c: char| c.is_ascii_digit()))?,
        };
        // `Job <123> is submitted to queue`: marks around it are no part of it.
        let id = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        (!id.is_empty()).then(|| id.to_string())
    }

    fn line(&self, text: &str) -> Option<Line> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let (id, state) = self.columns;
        let state = self.states.get(*words.get(state - 1)?);
        Some(Line {
            id: (*words.get(id - 1)?).to_string(),
            batch: None,
            word: match state {
                Some(CommandState::Pending) => Word::Pending,
                Some(CommandState::Running) => Word::Running,
                Some(CommandState::Ended) => Word::Ended(How::Itself),
                None => Word::Unknown,
            },
            node: String::new(),
        })
    }
}

/// `{jobs}` as a word stands for all ids; other words keep theirs.
fn with_jobs(words: &[String], ids: &[String]) -> Vec<String> {
    let mut all = Vec::new();
    for word in words {
        match word.as_str() {
            "{jobs}" => all.extend(ids.iter().cloned()),
            _ => all.push(word.replace("{jobs}", &ids.join(","))),
        }
    }
    all
}

impl Batch for Commands {
    fn submit(&self, batch: &Handed) -> Result<Vec<String>, Refusal> {
        let mut ids = Vec::new();
        for task in 0..batch.tasks {
            let file = batch.dir.join(format!("{task}.sh"));
            std::fs::write(&file, batch.script(&task.to_string()))
                .map_err(|e| Refusal::Later(format!("cannot write `{}`: {e}", file.display())))?;
            let words = self.submit_words(batch, task);
            let answer = call(&words, PATIENCE).map_err(|e| match e.timed_out {
                true => Refusal::Unknown(e.text),
                false => Refusal::No(e.text),
            });
            let said = match answer {
                Ok(said) => said,
                Err(_) if !ids.is_empty() => {
                    let _ = self.cancel(&ids);
                    return answer.map(|_| ids);
                }
                Err(e) => return Err(e),
            };
            let unread = || Refusal::Unknown(format!("`{}` answered `{}`", words[0], said.trim()));
            ids.push(self.id_of(&said).ok_or_else(unread)?);
        }
        Ok(ids)
    }

    fn poll(&self, _runs: &[String], ids: &[String]) -> Result<Vec<Line>, String> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let said = call(&with_jobs(&self.poll, ids), PATIENCE).map_err(|e| e.text)?;
        // Some print the id with more behind it: `123.server`, `123.`.
        let lines = said.lines().filter_map(|text| self.line(text));
        let whole = |line: Line| {
            let id = ids.iter().find(|id| same(id, &line.id))?;
            Some(Line {
                id: id.clone(),
                ..line
            })
        };
        Ok(lines.filter_map(whole).collect())
    }

    fn recall(&self, _ids: &[String]) -> Vec<Line> {
        Vec::new()
    }

    fn cancel(&self, ids: &[String]) -> Result<(), String> {
        let one_by_one = self.cancel.iter().any(|w| w.contains("{job}"));
        if !one_by_one {
            return call(&with_jobs(&self.cancel, ids), PATIENCE)
                .map(drop)
                .map_err(|e| e.text);
        }
        let mut failed = None;
        for id in ids {
            let words: Vec<String> = self.cancel.iter().map(|w| w.replace("{job}", id)).collect();
            failed = call(&words, PATIENCE).err().map(|e| e.text).or(failed);
        }
        failed.map_or(Ok(()), Err)
    }

    fn finds_by_batch(&self) -> bool {
        false
    }

    fn most_tasks(&self) -> usize {
        // Each is handed in by itself; one that fails takes back those before it.
        1
    }

    fn is_parent(&self) -> bool {
        false
    }
}

/// Whether two ids are of one job, one of which may lack the server's name.
fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.trim_end_matches('.'), b.trim_end_matches('.'));
    a == b
        || a.strip_prefix(b).is_some_and(|rest| rest.starts_with('.'))
        || b.strip_prefix(a).is_some_and(|rest| rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::exec::cluster::pack::Shape;
    use crate::profile::Profile;

    fn commands(text: &str) -> Commands {
        let text = format!("version: 1\nexecutor: command\ncommand:\n{text}");
        let profile = Profile::parse(Path::new("p"), text.as_bytes());
        profile.map_err(|e| e.render()).unwrap().command.unwrap()
    }

    const PBS: &str = "  submit: qsub -N {name} -l select=1:ncpus={cores}:mem={memory_mb}mb -l walltime={hms} -j oe -o {output} {script}\n  \
                       poll: qstat -x {jobs}\n  columns: [1, 5]\n  cancel: qdel {jobs}\n  \
                       states: {pending: [Q, H, W], running: [R, E], ended: [F, C, X]}\n";

    #[test]
    fn a_template_is_filled_in_word_by_word() {
        let batch = Handed {
            name: "b7".into(),
            run: "r".into(),
            dir: "/c d".into(),
            tasks: 1,
            shape: Shape {
                cores: 4,
                memory_mb: 512,
                minutes: 90,
                ..Shape::default()
            },
            program: "/bin/true".into(),
        };
        let words = commands(PBS).submit_words(&batch, 0);
        assert_eq!(words[4], "select=1:ncpus=4:mem=512mb");
        assert_eq!(words[6], "walltime=01:30:00");
        assert_eq!(words.last().unwrap(), "/c d/0.sh");
    }

    #[test]
    fn ids_and_states_are_read_as_each_system_prints_them() {
        let pbs = commands(PBS);
        assert_eq!(pbs.id_of("1234.server\n").unwrap(), "1234.server");
        let line = pbs
            .line("1234.server  clcc-b7  ann  00:00:01 R workq")
            .unwrap();
        assert_eq!(
            (line.id.as_str(), line.word),
            ("1234.server", Word::Running)
        );
        assert!(pbs.line("Job id            Name").is_none());
        assert_eq!(
            pbs.id_of("Job <77> is submitted to queue <normal>.")
                .unwrap(),
            "77"
        );
        assert!(same("1234", "1234.server") && same("1234.server", "1234"));
        assert!(!same("1234", "12345") && !same("12", "1234.server"));
        let jobs = ["1".to_string(), "2".to_string()];
        assert_eq!(with_jobs(&pbs.cancel, &jobs), ["qdel", "1", "2"]);
        let listed = ["a".to_string(), "-j={jobs}".to_string()];
        assert_eq!(with_jobs(&listed, &jobs), ["a", "-j=1,2"]);
    }
}
